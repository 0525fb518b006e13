/**
 * What the relay holds in memory: a lane for each entity with pending events, and the order of their turns.
 * Pure bookkeeping, no I/O. A lane's queue is without holes, oldest first. A lane is held back while something
 * older might lie unread in the outbox: when we heard of an event before having read what came before it.
 */
import type { PendingDocument, PendingEvent } from '@nephos/store';
import type { Placed } from './subject-order.ts';

/** Lanes in memory at once; beyond that, events wait in the outbox. */
const maxLanes = 5_000;

/** What a lane has in which nothing waits, and of whose stream nothing is known. */
const empty: readonly PendingEvent[] = Object.freeze([]);
const nowhere: Placed = Object.freeze({ place: 0, sequence: 0 });

export class Lane {
  readonly collection: string;
  readonly id: string;
  readonly key: string;
  #queue: readonly PendingEvent[] = empty;
  /** In the queue of turns, or having its turn. */
  busy = false;
  clearing = false;
  /** The scan during or before which it was held; undefined when it is free. */
  heldSince: number | undefined;
  acknowledgedSeq = 0;
  unclearedCount = 0;
  /** By the monotonic clock, when the head was in no stream yet; -Infinity: nobody knows. */
  unpublishedSince = Number.NEGATIVE_INFINITY;
  /** What lay in the stream last, as far as this relay knows. */
  last: Placed = nowhere;
  /** The document's counter when it was read. */
  counter = 0;

  constructor(collection: string, id: string) {
    this.collection = collection;
    this.id = id;
    this.key = keyOf(collection, id);
  }

  get head(): PendingEvent {
    const [head] = this.#queue;
    if (!head) throw new Error('an empty lane has no turn');
    return head;
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** Takes what follows on; false when there is a hole before the event. `since`: see `unpublishedSince`. */
  append(event: PendingEvent, since = Number.NEGATIVE_INFINITY): boolean {
    const last = this.#queue.at(-1)?.seq ?? this.acknowledgedSeq;
    if (event.seq <= last) return true;
    if (last > 0 && event.firstSeq > last + 1) return false;
    if (this.isEmpty) this.unpublishedSince = since;
    if (this.isEmpty) this.#queue = [event];
    else (this.#queue as PendingEvent[]).push(event);
    return true;
  }

  /** Puts what the outbox had before what was heard meanwhile. */
  fill(older: readonly PendingEvent[]): void {
    const heard = this.#queue;
    this.#queue = empty;
    const [head] = heard;
    const { unpublishedSince } = this;
    for (const event of [...older, ...heard]) this.append(event);
    const isHead = head?.seq === this.#queue[0]?.seq && head?.firstSeq === this.#queue[0]?.firstSeq;
    if (isHead) this.unpublishedSince = unpublishedSince;
  }

  acknowledge(event: PendingEvent): void {
    if (this.#queue.length > 1) (this.#queue as PendingEvent[]).shift();
    else this.#queue = empty;
    this.acknowledgedSeq = event.seq;
    this.unclearedCount += 1;
  }

  cleared(upTo: number): void {
    if (upTo === this.acknowledgedSeq) this.unclearedCount = 0;
  }
}

export class Lanes {
  /** True where this process hears of every commit, so that what it does not know of is not there. */
  readonly #hearsAll: boolean;
  #lanes = new Map<string, Lane>();
  #turns: Lane[] = [];
  #scan = 0;
  /** All that is pending is in a lane. */
  #complete = false;
  #overflowed = false;
  /**
   * By the monotonic clock: what was committed before is in a lane, or was. What is found in no lane was therefore
   * committed later, and is in no stream since before then. -Infinity: nobody knows.
   */
  #knownUpTo = Number.NEGATIVE_INFINITY;
  #scanBegan = Number.NEGATIVE_INFINITY;
  /** Something that was published may have stayed in the outbox. */
  #doubtful = false;

  constructor(hearsAll: boolean) {
    this.#hearsAll = hearsAll;
  }

  get size(): number {
    return this.#lanes.size;
  }

  get full(): boolean {
    return this.#lanes.size >= maxLanes;
  }

  /** Of an event just committed, in no stream before `since`. `unsure`: the outbox has to be read. */
  hear(collection: string, id: string, event: PendingEvent, since: number): 'taken' | 'unsure' {
    const known = this.#lanes.get(keyOf(collection, id));
    if (known) {
      if (!known.append(event, since)) return this.#missed(since);
      this.#giveTurn(known);
      return known.heldSince === undefined ? 'taken' : 'unsure';
    }
    if (this.full) return this.#missed(since);
    const lane = this.#add(collection, id);
    lane.append(event, since);
    if (event.firstSeq === 1 || this.#complete) {
      this.#giveTurn(lane);
      return 'taken';
    }
    lane.heldSince = this.#scan;
    return 'unsure';
  }

  /**
   * Something was committed, not before `since`, that is in no lane: what is pending has to be read before it is
   * complete again.
   */
  miss(since: number): void {
    if (this.#complete) this.#knownUpTo = since;
    this.#overflowed = true;
    this.#complete = false;
  }

  /** What is in no lane may be in a stream for all we know: of an event that was published and could not be cleared. */
  doubt(): void {
    this.#complete = false;
    this.#overflowed = true;
    this.#doubtful = true;
    this.#knownUpTo = Number.NEGATIVE_INFINITY;
  }

  scanBegins(now: number): void {
    this.#scan += 1;
    this.#overflowed = false;
    this.#doubtful = false;
    this.#scanBegan = now;
  }

  /** A document that the outbox had. */
  found(document: PendingDocument): void {
    const { collection, id, events, eventSeq } = document;
    const lane = this.#lanes.get(keyOf(collection, id)) ?? this.#add(collection, id);
    if (lane.heldSince === undefined) for (const event of events) lane.append(event, this.#knownUpTo);
    else lane.fill(events);
    lane.counter = Math.max(lane.counter, eventSeq);
    lane.heldSince = undefined;
    this.#giveTurn(lane);
  }

  /** The outbox was read to its end: what was held and not found has nothing before it. */
  scanEnds(): void {
    this.#complete = this.#hearsAll && !this.#overflowed;
    if (this.#hearsAll && !this.#doubtful) this.#knownUpTo = this.#scanBegan;
    for (const lane of this.#lanes.values()) {
      if (lane.heldSince === undefined || (lane.heldSince === this.#scan && !this.#hearsAll)) continue;
      lane.heldSince = undefined;
      this.#giveTurn(lane);
    }
  }

  /** The next lane in turn. */
  next(): Lane | undefined {
    return this.#turns.shift();
  }

  /** Its turn is over; another follows when it has more. */
  settled(lane: Lane): void {
    lane.busy = false;
    if (this.#lanes.get(lane.key) === lane) this.#giveTurn(lane);
  }

  /** Forgets a lane that has nothing left. */
  drop(lane: Lane): void {
    const done = lane.isEmpty && !lane.busy && !lane.clearing && lane.unclearedCount === 0;
    if (done && this.#lanes.get(lane.key) === lane) this.#lanes.delete(lane.key);
  }

  /** Those with something acknowledged and not cleared. */
  acknowledged(): Lane[] {
    return [...this.#lanes.values()].filter((lane) => lane.unclearedCount > 0);
  }

  /** When the longest waiting event here was written. */
  oldest(): string | undefined {
    let oldest: string | undefined;
    for (const lane of this.#lanes.values()) {
      if (!lane.isEmpty && (oldest === undefined || lane.head.at < oldest)) oldest = lane.head.at;
    }
    return oldest;
  }

  reset(): void {
    this.#lanes = new Map();
    this.#turns = [];
    this.doubt();
  }

  #add(collection: string, id: string): Lane {
    const lane = new Lane(collection, id);
    this.#lanes.set(lane.key, lane);
    return lane;
  }

  #missed(since: number): 'unsure' {
    this.miss(since);
    return 'unsure';
  }

  #giveTurn(lane: Lane): void {
    if (lane.busy || lane.isEmpty || lane.heldSince !== undefined) return;
    lane.busy = true;
    this.#turns.push(lane);
  }
}

function keyOf(collection: string, id: string): string {
  return `${collection}/${id}`;
}
