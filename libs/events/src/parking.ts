/**
 * What waits behind an event that fails, or takes long: from some number on it is kept by its place in the stream
 * alone, so that it takes neither memory nor the room of other entities, and read again when its turn comes.
 * Invariant: what is parked is neither acknowledged nor forgotten: the broker is told that it is in hand, and
 * given room to deliver as much again to others.
 */
import type { Delivery, EntityLane } from './entity-lane.ts';

/** How parked messages are kept and got back. */
export interface ParkedMessages {
  /** Undefined: it is gone from the stream. Throws when the session is lost. */
  read(place: number): Promise<Delivery | undefined>;
  working(place: number): void;
  /** Told of each change: so many wait by their place alone. */
  changed(parked: number): void;
}

/** Deliveries behind the head of a lane in trouble that stay in memory, and come back at once. */
const keptBehind = 16;
/** A try that lasts this long, in milliseconds, is trouble. */
const longTryMs = 1_000;

export class Parking {
  readonly #messages: ParkedMessages | undefined;
  readonly #lanes = new Map<EntityLane, number[]>();
  #count = 0;

  /** Without `messages` nothing is ever parked. */
  constructor(messages: ParkedMessages | undefined) {
    this.#messages = messages;
  }

  get count(): number {
    return this.#count;
  }

  /** The lowest place that is parked. */
  get lowest(): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const [first = lowest] of this.#lanes.values()) lowest = Math.min(lowest, first);
    return lowest;
  }

  /** Whether the delivery, which would be the lane's last, waits by its place. */
  takes(lane: EntityLane, { streamSequence }: Delivery, now: number): boolean {
    if (!this.#messages || streamSequence === 0) return false;
    const places = this.#lanes.get(lane);
    const isInTrouble = lane.attempt > 1 || now - (lane.tryingSince ?? now) > longTryMs;
    if (!places && !(isInTrouble && lane.length > keptBehind)) return false;
    if (places) places.push(streamSequence);
    else this.#lanes.set(lane, [streamSequence]);
    this.#changeBy(1);
    return true;
  }

  has(lane: EntityLane): boolean {
    return this.#lanes.has(lane);
  }

  /** The lane's next messages, in order. Those that are gone are left out: a gap shows where they were. */
  async fetch(lane: EntityLane): Promise<Delivery[]> {
    const messages = this.#messages;
    const places = this.#lanes.get(lane) ?? [];
    if (!messages) return [];
    const next = places.slice(0, keptBehind);
    const read = await Promise.all(next.map((place) => messages.read(place)));
    if (this.#lanes.get(lane) !== places) return [];
    places.splice(0, next.length);
    if (places.length === 0) this.#lanes.delete(lane);
    this.#changeBy(-next.length);
    return read.filter((delivery) => delivery !== undefined);
  }

  keep(): void {
    for (const places of this.#lanes.values()) for (const place of places) this.#messages?.working(place);
  }

  /** The stream was made anew: the places mean nothing any more. */
  clear(): void {
    this.#lanes.clear();
    this.#changeBy(-this.#count);
  }

  #changeBy(difference: number): void {
    this.#count += difference;
    this.#messages?.changed(this.#count);
  }
}
