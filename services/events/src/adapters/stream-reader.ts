/**
 * Reads a stream of the broker in order from a place on, a bounded group at a time: nothing is asked for before the
 * group before it was taken. The broker's side of it is kept in its memory and forgotten soon after nobody reads;
 * whoever was away for longer opens another at its place.
 */
import { type Consumer, DeliverPolicy, type JsMsg } from '@nats-io/jetstream';
import { nanos } from '@nats-io/nats-core';
import type { Session } from '@nephos/events';
import { Unavailable } from '@nephos/service';

/** The broker forgets a reader that has not asked for this long. */
const forgottenAfterMs = 30_000;
/** What is asked for at once: so many messages, fewer where the last ones were so large that these would be more. */
const most = { messages: 128, bytes: 2 * 1024 * 1024 };

export class StreamReader implements Disposable {
  readonly #session: Session;
  readonly #consumer: Consumer;
  /** By the broker's own count; a hole means that a message was lost on the way. */
  #delivered = 0;
  #largest = most.bytes / 16;

  private constructor(session: Session, consumer: Consumer) {
    this.#session = session;
    this.#consumer = consumer;
  }

  /** `after`: the place after which it begins. */
  static async open(session: Session, stream: string, filter: string, after: number): Promise<StreamReader> {
    const info = await session.jsm.consumers.add(stream, {
      filter_subject: filter,
      ack_policy: 'none',
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: after + 1,
      inactive_threshold: nanos(forgottenAfterMs),
      mem_storage: true,
      num_replicas: 1,
    });
    return new StreamReader(session, session.js.consumers.getConsumerFromInfo(info));
  }

  /** Whether the broker has given out all that it has, and all of that was taken here. */
  async isThrough(): Promise<boolean> {
    const { num_pending, delivered } = await this.#consumer.info();
    return num_pending === 0 && delivered.consumer_seq === this.#delivered;
  }

  /**
   * What comes next: at least one message, as soon as there is one; none when `waitMs` (1,000 or more) passed. Ends
   * with the pull that was made for it. Throws when the session is lost or a message was.
   */
  async *pull(waitMs: number, signal: AbortSignal): AsyncGenerator<readonly JsMsg[]> {
    const room = Math.floor(most.bytes / this.#largest);
    const max_messages = Math.max(1, Math.min(most.messages, room));
    this.#largest = 1;
    const messages = await this.#consumer.fetch({ max_messages, expires: waitMs });
    const ends = AbortSignal.any([signal, this.#session.signal]);
    const onAbort = (): void => messages.stop();
    ends.addEventListener('abort', onAbort, { once: true });
    if (ends.aborted) onAbort();
    let waiting: JsMsg[] = [];
    let failure: Error | undefined;
    let over = false;
    let wake = (): void => undefined;
    const gather = async (): Promise<void> => {
      for await (const message of messages) {
        waiting.push(message);
        this.#largest = Math.max(this.#largest, message.data.length);
        wake();
      }
    };
    const gathering = gather()
      .catch((error: unknown) => {
        failure = error as Error;
      })
      .finally(() => {
        over = true;
        wake();
      });
    try {
      for (;;) {
        if (waiting.length === 0 && !over) await new Promise<void>((resolve) => (wake = resolve));
        // What has come with the first one goes with it.
        await new Promise((resolve) => setImmediate(resolve));
        const group = waiting;
        waiting = [];
        if (group.length > 0) yield this.#checked(group);
        else if (over) break;
      }
    } finally {
      messages.stop();
      ends.removeEventListener('abort', onAbort);
      await gathering;
    }
    this.#session.signal.throwIfAborted();
    if (failure) throw failure;
  }

  /** Not awaited: whoever leaves has no time for it, and the broker forgets the reader all the same. */
  [Symbol.dispose](): void {
    if (!this.#session.signal.aborted) void this.#consumer.delete().catch(() => false);
  }

  #checked(group: readonly JsMsg[]): readonly JsMsg[] {
    for (const { info } of group) {
      this.#delivered += 1;
      if (info.deliverySequence !== this.#delivered) {
        throw new Unavailable('SERVICE_UNAVAILABLE', 'a message was lost on its way from the broker');
      }
    }
    return group;
  }
}
