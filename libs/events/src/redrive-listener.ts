/**
 * The subscriber's side of a redrive: takes dead letters of its subscription that somebody wants tried again, as
 * deliveries that go through the entity's lane, and answers what came of each.
 * One letter is in hand once, however often it is asked for meanwhile, and one that was handled a while ago is
 * answered from memory: two who redrive at once make the handler run once. A crash leaves the letter.
 */
import { type Msg, headers as newHeaders } from '@nats-io/nats-core';
import type { Session } from './bus.ts';
import { decodeEvent, type EntityEvent } from './cloudevent.ts';
import { deadLetterHeaders } from './dead-letter.ts';
import { type RedriveAnswer, redriveHeaders, redriveSubject } from './dead-letter-redrive.ts';
import type { Delivery } from './entity-lane.ts';
import type { EventTree } from './subject.ts';

/** Letters whose handling is remembered. */
const remembered = 1_000;

export class RedriveListener {
  readonly #subject: string;
  readonly #name: string;
  readonly #receive: (delivery: Delivery) => void;
  /** Whoever waits for the letters in hand. */
  readonly #inHand = new Map<string, Msg[]>();
  readonly #handled = new Set<string>();

  constructor(tree: EventTree, name: string, receive: (delivery: Delivery) => void) {
    this.#subject = redriveSubject(tree, name);
    this.#name = name;
    this.#receive = receive;
  }

  /** Until disposed. Of several processes that read for one name, each letter goes to one. */
  listen({ connection }: Session): Disposable {
    const callback = (error: Error | null, message: Msg): void => {
      if (!error) this.#take(message);
    };
    const subscription = connection.subscribe(this.#subject, { queue: this.#name, callback });
    return {
      [Symbol.dispose]: () => {
        if (!connection.isClosed()) subscription.unsubscribe();
      },
    };
  }

  #take(message: Msg): void {
    const letter = message.headers?.get(redriveHeaders.letter) ?? '';
    if (this.#handled.has(letter)) return answer(message, 'handled');
    answer(message, 'working');
    const waiting = this.#inHand.get(letter);
    if (waiting) return void waiting.push(message);
    const natsSubject = message.headers?.get(deadLetterHeaders.subject) ?? '';
    const body = message.string();
    let event: EntityEvent;
    try {
      event = decodeEvent(natsSubject, body);
    } catch (error) {
      return answer(message, 'failed', String(error));
    }
    this.#inHand.set(letter, [message]);
    const attempt = (Number(message.headers?.get(deadLetterHeaders.attempts)) || 0) + 1;
    this.#receive({
      event,
      body,
      natsSubject,
      streamSequence: 0,
      ack: () => undefined,
      working: () => this.#tell(letter, 'working'),
      redrive: { attempt, settle: (failure) => this.#settle(letter, failure) },
    });
  }

  #settle(letter: string, failure: string | undefined): void {
    if (failure === undefined) {
      this.#handled.add(letter);
      const [oldest] = this.#handled;
      if (oldest !== undefined && this.#handled.size > remembered) this.#handled.delete(oldest);
      this.#tell(letter, 'handled');
    } else this.#tell(letter, 'failed', failure);
    this.#inHand.delete(letter);
  }

  #tell(letter: string, what: RedriveAnswer, reason?: string): void {
    for (const message of this.#inHand.get(letter) ?? []) answer(message, what, reason);
  }
}

/** Who asked may be gone, or the connection: then the letter stays, and is asked for again. */
function answer(message: Msg, what: RedriveAnswer, reason = ''): void {
  const headers = newHeaders();
  headers.set(redriveHeaders.answer, what);
  try {
    message.respond(reason, { headers });
  } catch {
    // The connection is closed.
  }
}
