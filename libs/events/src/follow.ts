/**
 * Snapshot, then follow, without a gap and without a position: for caches and live views.
 * The state stream says up to which event it is; every event after that one is followed in the event stream, and
 * what the snapshot already held is dropped by its sequence. After a lost connection it goes on where it was.
 */
import { DeliverPolicy, type JsMsg } from '@nats-io/jetstream';
import type { Bus, Session } from './bus.ts';
import type { JsonObject } from './changes.ts';
import { decodeEvent, type EntityEvent, removedHeader } from './cloudevent.ts';
import type { EventsLog } from './context.ts';
import { readRange, sourcePlace } from './history.ts';
import { streams } from './streams.ts';
import { filterSubject } from './subject.ts';
import type { FollowItem, FollowOptions, MessageDecoder } from './subscription.ts';
import { typed } from './typed.ts';

const retryMs = 250;
const fetchSize = 500;
const fetchMs = 10_000;
/** Entities that are gone whose sequence is remembered. */
const rememberedRemovals = 10_000;

/** Ends, without an error, when the signal aborts. Reading slowly holds back the broker, not memory. */
export async function* follow<M = JsonObject>(
  bus: Bus,
  options: FollowOptions<M>,
): AsyncGenerator<FollowItem<M>> {
  const follower = new Follower(options.filter ?? {}, bus.log);
  let incarnation: string | undefined;
  while (!options.signal.aborted) {
    try {
      const session = await bus.ready(options.signal);
      if (incarnation !== undefined && incarnation !== session.incarnation) {
        follower.forget();
        yield { kind: 'restart' };
      }
      incarnation = session.incarnation;
      for await (const item of follower.attend(session, options.signal)) yield itemOf(item, options.message);
    } catch (error) {
      if (options.signal.aborted) return;
      bus.log.debug({ error }, 'following begins again where it was');
      await bus.clock.sleep(retryMs, options.signal).catch(() => undefined);
    }
  }
}

function itemOf<M>(item: FollowItem, decoder: MessageDecoder<M> | undefined): FollowItem<M> {
  return 'event' in item ? { kind: item.kind, event: typed(item.event, decoder) } : item;
}

class Follower {
  readonly #filter: string;
  readonly #log: EventsLog;
  readonly #sequences = new Map<string, number>();
  /** Of what was removed, the subjects still remembered. */
  readonly #removed = new Set<string>();
  /** The last place in the event stream that was followed; undefined until the snapshot is through. */
  #followed: number | undefined;

  constructor(filter: FollowOptions['filter'] & object, log: EventsLog) {
    this.#log = log;
    this.#filter = filterSubject('entities', filter);
  }

  forget(): void {
    this.#sequences.clear();
    this.#removed.clear();
    this.#followed = undefined;
  }

  async *attend(session: Session, signal: AbortSignal): AsyncGenerator<FollowItem> {
    const { state } = await session.jsm.streams.info(streams.events);
    // Behind what is kept, the state is all there is to go on from.
    if (this.#followed !== undefined && this.#followed + 1 < state.first_seq) {
      // Removals among what is gone are told by nobody any more.
      this.forget();
      yield { kind: 'restart' };
    }
    if (this.#followed === undefined) {
      let place = await placeOfState(session);
      for await (const message of readRange(session, { stream: streams.state, filter: this.#filter })) {
        place = Math.max(place, sourcePlace(message.headers));
        const event = this.#fresh(message);
        if (event && !message.headers?.has(removedHeader)) yield { kind: 'snapshot', event };
      }
      this.#followed = place;
      yield { kind: 'synced' };
    }
    yield* this.#follow(session, AbortSignal.any([session.signal, signal]));
  }

  async *#follow(session: Session, signal: AbortSignal): AsyncGenerator<FollowItem> {
    const consumer = await session.js.consumers.get(streams.events, {
      filter_subjects: this.#filter,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: (this.#followed ?? 0) + 1,
    });
    try {
      while (!signal.aborted) {
        const messages = await consumer.fetch({ max_messages: fetchSize, expires: fetchMs });
        const onAbort = (): void => messages.stop();
        signal.addEventListener('abort', onAbort, { once: true });
        for await (const message of messages) {
          const event = this.#fresh(message);
          if (event) yield { kind: 'change', event };
          this.#followed = message.seq;
        }
        signal.removeEventListener('abort', onAbort);
      }
    } finally {
      if (!session.signal.aborted) await consumer.delete().catch(() => false);
    }
  }

  /** The event, unless it or a later one of its entity was seen. What is no event at all is passed over. */
  #fresh(message: JsMsg): EntityEvent | undefined {
    const event = this.#decoded(message);
    if (!event) return undefined;
    if (event.sequence <= (this.#sequences.get(message.subject) ?? 0)) return undefined;
    this.#sequences.set(message.subject, event.sequence);
    this.#remember(message.subject, message.headers?.has(removedHeader) === true);
    return event;
  }

  /** For as long as it is there; a while longer, so that no repeat of the past brings it back. */
  #remember(subject: string, isRemoved: boolean): void {
    this.#removed.delete(subject);
    if (!isRemoved) return;
    this.#removed.add(subject);
    const [oldest] = this.#removed;
    if (oldest === undefined || this.#removed.size <= rememberedRemovals) return;
    this.#removed.delete(oldest);
    this.#sequences.delete(oldest);
  }

  #decoded(message: JsMsg): EntityEvent | undefined {
    try {
      return decodeEvent(message.subject, message.string());
    } catch (error) {
      const { subject, seq: streamSequence } = message;
      this.#log.warn({ error, subject, streamSequence }, 'a message is not an event: it is passed over');
      return undefined;
    }
  }
}

/** The event that the state stream took last: all up to it are in the state. 0 when that cannot be told. */
async function placeOfState({ jsm }: Session): Promise<number> {
  const { state } = await jsm.streams.info(streams.state);
  if (state.messages === 0) return 0;
  const last = await jsm.streams.getMessage(streams.state, { seq: state.last_seq });
  return sourcePlace(last?.header);
}
