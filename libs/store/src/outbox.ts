// The outbox over any driver: tells the relay of commits, keeps what waits for it bounded.
// Owner: libs/store. Invariants: a document has at most 64 pending events or 256 KiB of payloads (but always
// its last event) once its writers were answered; a collapsed event declares its range. Listeners get hints
// only: a crash loses them, `pending` still has the events.
import { type Clock, Invalid } from '@nephos/service';
import type {
  Cleared,
  CollectionDefinition,
  CommittedEvent,
  Json,
  Outbox,
  PendingDocument,
  PendingEvent,
  PendingOptions,
  StoreLog,
} from './collection.ts';
import type { Driver, EventToAdd, Written } from './driver.ts';
import { KeyedQueue } from './keyed-queue.ts';

export const maxPendingEvents = 64;
export const maxPendingBytes = 256 * 1024;
const sweepBatch = 500;

type Listener = (committed: readonly CommittedEvent[]) => void;

export class OutboxHub implements Outbox {
  readonly #driver: Driver;
  readonly #clock: Clock;
  readonly #log: StoreLog | undefined;
  readonly #listeners = new Set<Listener>();
  readonly #collapses = new KeyedQueue();
  #committed: CommittedEvent[] = [];

  constructor(driver: Driver, clock: Clock, log: StoreLog | undefined) {
    this.#driver = driver;
    this.#clock = clock;
    this.#log = log;
  }

  async pending(options: PendingOptions): Promise<PendingDocument[]> {
    checkWhole('limit', options.limit);
    const { limit, after, read = parsed } = options;
    return await this.#driver.pending(limit, after, read);
  }

  async clear(collection: string, id: string, upToSeq: number): Promise<void> {
    checkWhole('upToSeq', upToSeq);
    await this.#driver.clear(collection, id, upToSeq);
  }

  async clearAll(cleared: readonly Cleared[]): Promise<void> {
    for (const { upToSeq } of cleared) checkWhole('upToSeq', upToSeq);
    if (this.#driver.clearAll) return await this.#driver.clearAll(cleared);
    await Promise.all(
      cleared.map(({ collection, id, upToSeq }) => this.#driver.clear(collection, id, upToSeq)),
    );
  }

  onPending(listener: Listener): Disposable {
    // A wrapper of its own, so that the same function registered twice is two registrations.
    const registered: Listener = (committed) => listener(committed);
    this.#listeners.add(registered);
    return { [Symbol.dispose]: () => void this.#listeners.delete(registered) };
  }

  async sweepTombstones(olderThanMs: number): Promise<number> {
    checkWhole('olderThanMs', olderThanMs);
    const removedBefore = this.#clock.now().getTime() - olderThanMs;
    for (let swept = 0; ; ) {
      const batch = await this.#driver.sweepTombstones(removedBefore, sweepBatch);
      swept += batch;
      if (batch < sweepBatch) return swept;
    }
  }

  /** After a write with an event: signals it, and collapses what piled up, if it did. */
  committed<T>(
    definition: CollectionDefinition<T>,
    id: string,
    event: EventToAdd,
    written: Written,
  ): Promise<void> | undefined {
    const { eventSeq, pendingCount, pendingBytes } = written;
    const payload = (event.encoded as Json | undefined) ?? event.payload;
    this.#signal({
      collection: definition.name,
      id,
      event: { seq: eventSeq, firstSeq: eventSeq, at: event.at, payload },
    });
    if (pendingCount < 2 || (pendingCount < maxPendingEvents && pendingBytes < maxPendingBytes))
      return undefined;
    return this.#collapses.run(`${definition.name}/${id}`, () => this.#collapse(definition, id));
  }

  #signal(event: CommittedEvent): void {
    if (this.#listeners.size === 0) return;
    this.#committed.push(event);
    if (this.#committed.length > 1) return;
    queueMicrotask(() => {
      const committed = this.#committed;
      this.#committed = [];
      for (const listener of this.#listeners) this.#call(listener, committed);
    });
  }

  #call(listener: Listener, committed: readonly CommittedEvent[]): void {
    try {
      listener(committed);
    } catch (error) {
      this.#log?.error({ err: error }, 'a listener for pending events threw');
    }
  }

  /** Never fails the write that called for it: that one is committed already. */
  async #collapse<T>(definition: CollectionDefinition<T>, id: string): Promise<void> {
    try {
      const events = await this.#driver.pendingOf(definition.name, id);
      const [first, last] = [events[0], events.at(-1)];
      if (first === undefined || last === undefined || !isOverLimit(events)) return;
      const payload = definition.collapse === undefined ? last.payload : definition.collapse(events);
      await this.#driver.collapse(definition.name, id, { first, last, count: events.length }, payload);
    } catch (error) {
      this.#log?.error(
        { err: error, collection: definition.name, id },
        'pending events could not be collapsed',
      );
    }
  }
}

const parsed = (text: string): Json => JSON.parse(text) as Json;

function checkWhole(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return;
  throw new Invalid('FIELD_INVALID', `${name} has to be a whole number from 0 on, not ${value}`);
}

function isOverLimit(events: readonly PendingEvent[]): boolean {
  if (events.length < 2) return false;
  if (events.length >= maxPendingEvents) return true;
  return events.reduce((bytes, event) => bytes + payloadBytes(event.payload), 0) >= maxPendingBytes;
}

function payloadBytes(payload: Json): number {
  return Buffer.byteLength(JSON.stringify(payload));
}
