/**
 * The deliveries of a subscription that are in hand, in no order. Pure bookkeeping.
 * An array with places, not a Set: what passes through a Set in great numbers stays alive for long, since its former
 * tables lead to the newer ones, and half of what a subscriber allocated was kept until a full collection.
 */
import type { Delivery } from './entity-lane.ts';

export class Held {
  readonly #deliveries: Delivery[] = [];

  get size(): number {
    return this.#deliveries.length;
  }

  add(delivery: Delivery): void {
    if (delivery.heldAt !== undefined) return;
    delivery.heldAt = this.#deliveries.push(delivery) - 1;
  }

  /** Does nothing where it is not held. The last one takes its place. */
  delete(delivery: Delivery): void {
    const { heldAt } = delivery;
    if (heldAt === undefined) return;
    const last = this.#deliveries.pop();
    if (last !== undefined && last !== delivery) {
      this.#deliveries[heldAt] = last;
      last.heldAt = heldAt;
    }
    delivery.heldAt = undefined;
  }

  [Symbol.iterator](): IterableIterator<Delivery> {
    return this.#deliveries.values();
  }
}
