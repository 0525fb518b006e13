/**
 * The subscription's consumer at the broker: makes it where missing, and hands its messages on.
 * Invariants: the broker's acknowledgement floor is the position. What the broker had delivered above the floor
 * to a connection or process that is gone comes first, read from the stream, so that it is never overtaken by
 * what is newer; the broker's own redelivery of it is dropped later as a repeat.
 */
import {
  type ConsumerConfig,
  type ConsumerInfo,
  type ConsumerMessages,
  JetStreamApiCodes,
  JetStreamApiError,
  type JsMsg,
  type StoredMsg,
} from '@nats-io/jetstream';
import { nanos } from '@nats-io/nats-core';
import { OutOfRange } from '@nephos/service';
import type { Session } from './bus.ts';
import { readRange } from './history.ts';
import { lifeOf } from './stream-life.ts';
import { streamOf, streams } from './streams.ts';
import { type EventFilter, type EventTree, filterSubject } from './subject.ts';
import type { StartFrom } from './subscription.ts';
import type { ConsumerLook } from './subscription-watch.ts';

export interface DurableOptions {
  readonly name: string;
  readonly tree: EventTree;
  readonly filter: EventFilter;
  readonly from: StartFrom;
  /** Undefined: the broker keeps it for good. */
  readonly forgetAfterMs: number | undefined;
}

const nothing = (): void => undefined;

/** Messages delivered and not acknowledged, at most. */
export const maxHeld = 1_000;
/** The same, with what waits behind events in trouble. */
const mostRoom = 64 * maxHeld;
/** The broker delivers again what is neither acknowledged nor said to be in hand for this long. */
export const ackWaitMs = 30_000;

/** A message on its way to the dispatcher. */
export interface Incoming {
  readonly message: JsMsg | StoredMsg;
  /** Its place in the stream. */
  readonly place: number;
  /** `state`: it is from the state stream, and stands for events that are gone. */
  readonly kind: 'event' | 'state';
  readonly ack: () => void;
  readonly working: () => void;
}

export interface Receiver {
  receive(incoming: Incoming): void;
  /** Resolves once there is room for more. */
  room(): Promise<void>;
}

export class DurableConsumer {
  readonly #options: DurableOptions;
  readonly #stream: string;
  readonly #filter: string;
  readonly #receiver: Receiver;
  /** The stream was made anew while this process lived: all that is in it is news. */
  #anew = false;
  /** The consumer was there before. */
  #isFound = false;
  /** Which life of the stream this process knew last. */
  #life: string | undefined;
  /** The consumer's count of deliveries when reading began, and the count of those that came here since. */
  #before = 0;
  #received = 0;
  /** Deliveries not acknowledged that the broker allows. */
  #room = maxHeld;

  constructor(options: DurableOptions, receiver: Receiver) {
    this.#options = options;
    this.#stream = streamOf(options.tree);
    this.#filter = filterSubject(options.tree, options.filter);
    this.#receiver = receiver;
  }

  /**
   * Makes sure that the consumer exists. `position` is the place in the stream up to which this process has
   * handled all, or 0. Throws `OutOfRange` when it shall begin behind what is kept.
   */
  async ensure(session: Session, position: number): Promise<ConsumerInfo> {
    const found = await this.#lookUp(session);
    this.#isFound = found !== undefined;
    this.#room = found?.config.max_ack_pending ?? maxHeld;
    if (!found) return await this.#make(session, position);
    if (found.config.filter_subject === this.#filter) return found;
    // A newer program asks for other entities: from its position on it gets those.
    return await this.#update(session, { filter_subject: this.#filter });
  }

  /** Makes the broker deliver as much as ever beside what waits behind events in trouble. */
  async makeRoom(session: Session, parked: number): Promise<void> {
    const room = Math.min(mostRoom, maxHeld * (1 + Math.ceil((2 * parked) / maxHeld)));
    const isTight = room > this.#room || parked === 0;
    if (!isTight || room === this.#room) return;
    await this.#update(session, { max_ack_pending: room });
    this.#room = room;
  }

  /** The message at a place of the stream, as if it were delivered again. */
  async read(session: Session, place: number): Promise<Omit<Incoming, 'kind'> | undefined> {
    const message = await session.jsm.streams.getMessage(this.#stream, { seq: place });
    return message ? { message, place, ...this.#acksOf(session, place) } : undefined;
  }

  working(session: Session, place: number): void {
    this.#acksOf(session, place).working();
  }

  /** How the consumer stands at the broker. */
  async look(session: Session): Promise<ConsumerLook | undefined> {
    const found = await this.#lookUp(session);
    if (!found) return undefined;
    const delivered = found.delivered.consumer_seq - this.#before;
    return { pending: found.num_pending, delivered, received: () => this.#received };
  }

  /** Whether the stream was made anew since this process knew it: places in the old one mean nothing. */
  async isNewStream({ jsm }: Session): Promise<boolean> {
    const life = lifeOf(await jsm.streams.info(this.#stream));
    const isNew = this.#life !== undefined && this.#life !== life;
    this.#life = life;
    this.#anew ||= isNew;
    return isNew;
  }

  /** Hands on what was delivered to nobody who is left. */
  async catchUp(session: Session, info: ConsumerInfo): Promise<void> {
    const floor = info.ack_floor.stream_seq;
    const delivered = info.delivered.stream_seq;
    const { state } = await session.jsm.streams.info(this.#stream);
    // One that asked for all and has acknowledged nothing yet has been waiting since the stream's beginning.
    const hasPosition = floor > 0 || (this.#isFound && this.#options.from === 'all');
    if (hasPosition && floor + 1 < state.first_seq && this.#options.tree === 'entities') {
      const range = { stream: streams.state, filter: this.#filter };
      for await (const message of readRange(session, range)) {
        // Each entity: what was in hand when a process was killed, and went from the stream since, counts at the
        // broker as acknowledged.
        await this.#receiver.room();
        this.#receiver.receive({ message, place: 0, kind: 'state', ack: nothing, working: nothing });
      }
    }
    if (info.num_ack_pending === 0 || delivered <= floor) return;
    const range = { stream: this.#stream, filter: this.#filter, from: floor + 1, to: delivered };
    for await (const message of readRange(session, range)) {
      await this.#receiver.room();
      const place = message.seq;
      this.#receiver.receive({ message, place, kind: 'event', ...this.#acksOf(session, place) });
    }
  }

  /** Hands messages on until the signal aborts, or until the consumer does not answer any more. */
  async pull(session: Session, info: ConsumerInfo, signal: AbortSignal): Promise<void> {
    this.#before = (await this.#lookUp(session))?.delivered.consumer_seq ?? info.delivered.consumer_seq;
    this.#received = 0;
    const replies = `$JS.ACK.${this.#stream}.${this.#options.name}.`;
    const messages = await session.js.consumers.getConsumerFromInfo(info).consume({
      max_messages: maxHeld,
      expires: 10_000,
      callback: (message) => {
        this.#received += 1;
        const ack = (): void => message.ack();
        const place = placeOf(message, replies);
        this.#receiver.receive({ message, place, kind: 'event', ack, working: () => message.working() });
      },
    });
    const onAbort = (): void => void messages.close();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    // The iterator of what is told never ends if it is asked for after the close, as when we stop at once.
    await Promise.race([lossOf(messages), messages.closed()]);
    signal.removeEventListener('abort', onAbort);
    await messages.close();
  }

  /** Forgets the position. */
  async remove({ jsm }: Session): Promise<void> {
    await jsm.consumers.delete(this.#stream, this.#options.name);
  }

  /** By the place in the stream, for a message that was not taken from the consumer (ADR-15). */
  #acksOf({ connection }: Session, place: number): Pick<Incoming, 'ack' | 'working'> {
    const subject = `$JS.ACK.${this.#stream}.${this.#options.name}.1.${place}.1.0.0`;
    return {
      ack: () => connection.publish(subject, '+ACK'),
      working: () => connection.publish(subject, '+WPI'),
    };
  }

  async #update({ jsm }: Session, change: Partial<ConsumerConfig>): Promise<ConsumerInfo> {
    return await jsm.consumers.update(this.#stream, this.#options.name, change);
  }

  async #lookUp({ jsm }: Session): Promise<ConsumerInfo | undefined> {
    try {
      return await jsm.consumers.info(this.#stream, this.#options.name);
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.ConsumerNotFound)
        return undefined;
      throw error;
    }
  }

  async #make(session: Session, position: number): Promise<ConsumerInfo> {
    const from = position > 0 ? { sequence: position } : this.#anew ? 'all' : this.#options.from;
    if (position === 0) await this.#checkKept(session, from);
    const { forgetAfterMs } = this.#options;
    return await session.jsm.consumers.add(this.#stream, {
      durable_name: this.#options.name,
      filter_subject: this.#filter,
      ack_policy: 'explicit',
      ack_wait: nanos(ackWaitMs),
      max_ack_pending: maxHeld,
      ...(forgetAfterMs !== undefined && { inactive_threshold: nanos(forgetAfterMs) }),
      ...startOf(from),
    });
  }

  async #checkKept({ jsm }: Session, from: StartFrom): Promise<void> {
    if (from === 'new' || from === 'all') return;
    const { state } = await jsm.streams.info(this.#stream);
    const nothingLost = state.first_seq <= 1;
    const kept = from instanceof Date ? from >= new Date(state.first_ts) : from.sequence >= state.first_seq;
    if (nothingLost || kept) return;
    throw new OutOfRange(
      'RESYNC_REQUIRED',
      `events are kept from sequence ${state.first_seq} (${state.first_ts}) on`,
    );
  }
}

/**
 * The place in the stream of a delivery. Its reply subject goes on with how often it was delivered, and the place
 * (ADR-15); where it has more in front, as in a domain, the client library reads all of it, at ten times the cost.
 */
function placeOf(message: JsMsg & { readonly reply?: string }, replies: string): number {
  const { reply } = message;
  if (!reply?.startsWith(replies)) return message.seq;
  const from = reply.indexOf('.', replies.length) + 1;
  return Number(reply.slice(from, reply.indexOf('.', from)));
}

const losses: ReadonlySet<string> = new Set([
  'heartbeats_missed',
  'consumer_not_found',
  'consumer_deleted',
  'stream_not_found',
]);

/** Resolves once the consumer is lost. */
async function lossOf(messages: ConsumerMessages): Promise<void> {
  for await (const { type } of messages.status()) if (losses.has(type)) return;
}

function startOf(from: StartFrom): Parameters<Session['jsm']['consumers']['add']>[1] {
  if (from === 'all') return { deliver_policy: 'all' };
  if (from === 'new') return { deliver_policy: 'new' };
  if (from instanceof Date) return { deliver_policy: 'by_start_time', opt_start_time: from.toISOString() };
  return { deliver_policy: 'by_start_sequence', opt_start_seq: from.sequence };
}
