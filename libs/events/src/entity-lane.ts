/**
 * One entity within a subscription: what waits for its handler, and how far it has come. Pure bookkeeping.
 * Deliveries may come twice or late; the lane lets each sequence through once, in order.
 */
import type { EntityEvent } from './cloudevent.ts';

/** A message in hand. */
export interface Delivery {
  readonly event: EntityEvent;
  readonly body: string;
  readonly natsSubject: string;
  /** 0 where the message was not taken from the stream of events itself. */
  readonly streamSequence: number;
  /** Tells the broker that it is done with. */
  ack(): void;
  /** Tells the broker that it is still in hand. */
  working(): void;
  /** A dead letter that is tried once more: see redrive-listener.ts. */
  readonly redrive?: Redrive;
  /** Its place among those in hand: see held.ts. */
  heldAt?: number | undefined;
}

export interface Redrive {
  /** Counting all tries before. */
  readonly attempt: number;
  /** Why it failed; undefined: it was handled. */
  settle(failure: string | undefined): void;
}

/** The queue of every lane in which nothing waits: lanes are remembered, and nearly all are empty. */
const empty: readonly Delivery[] = Object.freeze([]);

export class EntityLane {
  #queue: readonly Delivery[] = empty;
  /** In the queue of turns, having its turn, or waiting to try again. */
  busy = false;
  attempt = 1;
  /** By the monotonic clock, since when the handler has been at the head; undefined: it is not. */
  tryingSince: number | undefined;
  /** The sequence handled last; undefined before the first. */
  handled: number | undefined;
  /** Where that event lay in the stream. */
  handledAt = 0;
  #queued: number | undefined;

  get head(): Delivery | undefined {
    return this.#queue[0];
  }

  get length(): number {
    return this.#queue.length;
  }

  /** What to do with a delivery: `handled` was done before, `held` waits here already. */
  take(delivery: Delivery): 'taken' | 'handled' | 'held' {
    const { sequence } = delivery.event;
    if (this.handled !== undefined && sequence <= this.handled) return 'handled';
    if (this.#queued !== undefined && sequence <= this.#queued) return 'held';
    this.#queued = sequence;
    this.#own().push(delivery);
    return 'taken';
  }

  /** Whether events between the last one handled and this one are missing. */
  hasGapBefore(event: EntityEvent): boolean {
    return this.handled !== undefined && event.firstSequence > this.handled + 1;
  }

  /** Puts an event whose place has passed before all that waits; the head may be in its handler just now. */
  putNext(delivery: Delivery): void {
    this.#own().splice(this.busy ? 1 : 0, 0, delivery);
  }

  /** The event was handled, or set aside for good. */
  advance(event: EntityEvent, streamSequence: number): void {
    this.handled = Math.max(this.handled ?? 0, event.sequence);
    this.handledAt = Math.max(this.handledAt, streamSequence);
  }

  /** Puts what a gap hid before what waits. */
  putFirst(deliveries: readonly Delivery[]): void {
    this.#own().unshift(...deliveries);
  }

  /** Takes the last one off again: it waits elsewhere, and `take` still knows of it. */
  putAway(): void {
    this.#own().pop();
  }

  /** Puts back what waited elsewhere. */
  putBack(deliveries: readonly Delivery[]): void {
    this.#own().push(...deliveries);
  }

  /** Takes the head off. */
  shift(): Delivery | undefined {
    this.attempt = 1;
    if (this.#queue.length > 1) return this.#own().shift();
    const [last] = this.#queue;
    this.#queue = empty;
    return last;
  }

  #own(): Delivery[] {
    if (this.#queue === empty) this.#queue = [];
    return this.#queue as Delivery[];
  }
}
