/**
 * Hands deliveries to the handler: one at a time per entity and in order, several entities at once, each
 * sequence once, with retries and at last a dead letter.
 * Invariants: a delivery is acknowledged only after it was handled, dropped as handled before, or set aside; an
 * entity that waits for another try, or for what a gap hid, holds up nobody else. A crash forgets all of this:
 * what was not acknowledged is delivered again.
 */
import type { Bus } from './bus.ts';
import type { EntityEvent } from './cloudevent.ts';
import { putDeadLetter } from './dead-letter.ts';
import { type Delivery, EntityLane, type Redrive } from './entity-lane.ts';
import { fillingOf } from './gap.ts';
import { callHandler } from './handler-call.ts';
import { Held } from './held.ts';
import { type ParkedMessages, Parking } from './parking.ts';
import type { EventTree } from './subject.ts';
import type { SubscriptionCounts } from './subscription.ts';

export interface DispatchOptions {
  readonly name: string;
  readonly tree: EventTree;
  readonly concurrency: number;
  readonly attempts: number;
  readonly backoffMs: number;
  /** How long a try may take. Left out: for ever. */
  readonly timeoutMs?: number | undefined;
  /** How to keep what waits behind an event in trouble out of others' way. Left out: it is kept here. */
  readonly parked?: ParkedMessages;
  /** Calls the subscriber's handler. */
  readonly handle: (event: EntityEvent, call: HandlerCall) => Promise<void>;
}

export interface HandlerCall {
  readonly attempt: number;
  readonly body: string;
  readonly redriven: boolean;
  readonly signal: AbortSignal;
}

const longestBackoffMs = 60_000;
const unparkRetryMs = 250;
/**
 * So many entities that came last are remembered for sure, and at most as many more; forgetting one only weakens the
 * check for repeats.
 */
const rememberedEntities = 200_000;

export class Dispatcher {
  readonly #bus: Bus;
  readonly #options: DispatchOptions;
  readonly #signal: AbortSignal;
  #lanes = new Map<string, EntityLane>();
  /** Those of entities that have not come since `#lanes` was begun. */
  #olderLanes = new Map<string, EntityLane>();
  readonly #held = new Held();
  readonly #parking: Parking;
  readonly #counts = {
    handled: 0,
    duplicates: 0,
    recovered: 0,
    resynced: 0,
    retried: 0,
    deadLetters: 0,
    redriven: 0,
  };
  #turns: EntityLane[] = [];
  #running = 0;
  #highest = 0;
  #onIdle: (() => void)[] = [];

  /** Aborting the signal ends waiting and retrying; handlers that run are let be. */
  constructor(bus: Bus, options: DispatchOptions, signal: AbortSignal) {
    this.#bus = bus;
    this.#options = options;
    this.#signal = signal;
    this.#parking = new Parking(options.parked);
  }

  get counts(): SubscriptionCounts {
    return { ...this.#counts };
  }

  /** The place in the stream from which on something may not have been handled; 0 before the first delivery. */
  get position(): number {
    let lowest = this.#highest === 0 ? 0 : Math.min(this.#highest + 1, this.#parking.lowest);
    for (const { streamSequence } of this.#held) {
      if (streamSequence > 0 && streamSequence < lowest) lowest = streamSequence;
    }
    return lowest;
  }

  /** How many deliveries are in hand. */
  get held(): number {
    return this.#held.size;
  }

  /** How many more wait behind these by their place in the stream alone. */
  get parked(): number {
    return this.#parking.count;
  }

  /** Rises with whatever comes to an end: an event, a try. */
  get progress(): number {
    return Object.values(this.#counts).reduce((sum, count) => sum + count, 0);
  }

  /** When the event in hand that has waited longest was written. */
  get oldest(): Date | undefined {
    let oldest: Date | undefined;
    for (const { event } of this.#held) if (oldest === undefined || event.time < oldest) oldest = event.time;
    return oldest;
  }

  /** All up to here was handled before. */
  beginAfter(streamSequence: number): void {
    this.#highest = Math.max(this.#highest, streamSequence);
  }

  /** The stream was made anew: places in it are counted from its beginning again. */
  newStream(): void {
    this.#highest = 0;
    this.#parking.clear();
    for (const lanes of [this.#lanes, this.#olderLanes])
      for (const lane of lanes.values()) lane.handledAt = 0;
  }

  /** Takes a message in hand. */
  receive(delivery: Delivery): void {
    this.#highest = Math.max(this.#highest, delivery.streamSequence);
    const lane = this.#laneOf(delivery.natsSubject);
    if (delivery.redrive) {
      lane.putNext(delivery);
      this.#held.add(delivery);
      return this.#giveTurn(lane);
    }
    const verdict = lane.take(delivery);
    if (verdict !== 'taken') {
      this.#counts.duplicates += 1;
      if (verdict === 'handled') delivery.ack();
      return;
    }
    if (this.#parking.takes(lane, delivery, this.#bus.clock.monotonic())) return lane.putAway();
    this.#held.add(delivery);
    this.#giveTurn(lane);
  }

  /** Tells the broker that all that is held is still in hand. */
  keepHeld(): void {
    for (const delivery of this.#held) delivery.working();
    this.#parking.keep();
  }

  /** Resolves when nothing is held, or at the signal's abort. */
  async idle(): Promise<void> {
    if (this.#held.size + this.#parking.count === 0 || this.#signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#onIdle.push(resolve);
      this.#signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  #laneOf(natsSubject: string): EntityLane {
    const known = this.#lanes.get(natsSubject);
    if (known) return known;
    const lane = this.#olderLanes.get(natsSubject) ?? new EntityLane();
    if (this.#lanes.size >= rememberedEntities) this.#forgetOlder();
    this.#lanes.set(natsSubject, lane);
    return lane;
  }

  /** All at once: one by one, each would be looked for behind the places of those forgotten before it. */
  #forgetOlder(): void {
    const forgotten = this.#olderLanes;
    this.#olderLanes = this.#lanes;
    this.#lanes = new Map();
    for (const [key, lane] of forgotten)
      if (lane.busy && !this.#olderLanes.has(key)) this.#lanes.set(key, lane);
  }

  #giveTurn(lane: EntityLane): void {
    if (lane.busy || !lane.head) return;
    lane.busy = true;
    this.#turns.push(lane);
    this.#pump();
  }

  #pump(): void {
    while (this.#running < this.#options.concurrency && !this.#signal.aborted) {
      const lane = this.#turns.shift();
      if (!lane?.head) return;
      this.#running += 1;
      void this.#turn(lane, lane.head);
    }
  }

  /** One try at the head of a lane. */
  async #turn(lane: EntityLane, delivery: Delivery): Promise<void> {
    const { event } = delivery;
    let pauseMs = 0;
    try {
      if (delivery.redrive) await this.#redrive(lane, delivery, delivery.redrive);
      else if (lane.handled !== undefined && event.sequence <= lane.handled) this.#dropRepeat(lane, delivery);
      else if (lane.hasGapBefore(event)) await this.#fillGap(lane, delivery);
      else {
        await this.#call(lane, delivery, lane.attempt);
        this.#counts.handled += 1;
        this.#done(lane, delivery);
      }
    } catch (error) {
      pauseMs = await this.#failed(lane, delivery, error);
    } finally {
      lane.tryingSince = undefined;
      this.#running -= 1;
    }
    if (pauseMs === 0) this.#again(lane);
    else this.#bus.clock.timer(pauseMs, () => this.#again(lane));
    this.#pump();
  }

  /** One try, between the entity's other events. Where the lane stands is no matter of an event that has passed. */
  async #redrive(lane: EntityLane, delivery: Delivery, { attempt, settle }: Redrive): Promise<void> {
    const { event } = delivery;
    let failure: string | undefined;
    try {
      await this.#call(lane, delivery, attempt);
      this.#counts.redriven += 1;
    } catch (error) {
      failure = String(error);
      const { name: subscription } = this.#options;
      this.#bus.log.warn({ error, subscription, event: event.id, attempt }, 'a redriven event failed again');
    }
    lane.shift();
    this.#held.delete(delivery);
    settle(failure);
  }

  /** Calls the handler for the head of a lane. */
  #call(lane: EntityLane, delivery: Delivery, attempt: number): Promise<void> {
    const { event, body } = delivery;
    const { timeoutMs, handle } = this.#options;
    const redriven = delivery.redrive !== undefined;
    lane.tryingSince = this.#bus.clock.monotonic();
    return callHandler(this.#bus.clock, event, timeoutMs, this.#signal, (signal) =>
      handle(event, { attempt, body, redriven, signal }),
    );
  }

  #again(lane: EntityLane): void {
    if (!lane.head && this.#parking.has(lane)) return void this.#unpark(lane);
    lane.busy = false;
    this.#giveTurn(lane);
    if (this.#held.size + this.#parking.count > 0) return;
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  /** Gets a lane what it has waiting by its place alone. */
  async #unpark(lane: EntityLane): Promise<void> {
    try {
      const deliveries = await this.#parking.fetch(lane);
      for (const delivery of deliveries) this.#held.add(delivery);
      lane.putBack(deliveries);
    } catch (error) {
      this.#bus.log.debug({ error }, 'what waits behind an event could not be read yet');
      await this.#bus.clock.sleep(unparkRetryMs, this.#signal).catch(() => undefined);
      if (this.#signal.aborted) return;
    }
    this.#again(lane);
  }

  #done(lane: EntityLane, delivery: Delivery): void {
    lane.advance(delivery.event, delivery.streamSequence);
    lane.shift();
    this.#held.delete(delivery);
    delivery.ack();
  }

  #dropRepeat(lane: EntityLane, delivery: Delivery): void {
    this.#counts.duplicates += 1;
    this.#done(lane, delivery);
  }

  /** Returns how long to wait before the next try, in milliseconds. */
  async #failed(lane: EntityLane, delivery: Delivery, error: unknown): Promise<number> {
    const { name, attempts, backoffMs } = this.#options;
    const { event, body, natsSubject: subject, streamSequence } = delivery;
    const { attempt } = lane;
    const pauseMs = Math.min(longestBackoffMs, backoffMs * 2 ** Math.min(attempt - 1, 20));
    const facts = { error, subscription: name, event: event.id, attempt };
    lane.attempt += 1;
    this.#counts.retried += 1;
    if (attempt < attempts || this.#signal.aborted || lane.hasGapBefore(event)) {
      this.#bus.log.warn(facts, 'handling an event failed: it is tried again');
      return pauseMs;
    }
    try {
      const { entity, uid: id, id: eventId } = event;
      const letter = {
        subscription: name,
        entity,
        id,
        eventId,
        subject,
        body,
        streamSequence,
        attempts: attempt,
      };
      await putDeadLetter(await this.#bus.ready(this.#signal), { ...letter, reason: String(error) });
      this.#counts.deadLetters += 1;
      this.#bus.log.error(facts, 'handling an event failed for the last time: it is now a dead letter');
      this.#done(lane, delivery);
      return 0;
    } catch (unavailable) {
      this.#bus.log.warn({ error: unavailable, event: event.id }, 'a dead letter could not be written yet');
      return pauseMs;
    }
  }

  /** Puts the missing events before this one, or the entity's latest state where they are gone for good. */
  async #fillGap(lane: EntityLane, delivery: Delivery): Promise<void> {
    const { tree, name } = this.#options;
    const { handled } = lane;
    const session = await this.#bus.ready(this.#signal);
    const { deliveries, resynced } = await fillingOf(session, tree, lane, delivery);
    lane.putFirst(deliveries);
    if (!resynced) {
      this.#counts.recovered += deliveries.length;
      return;
    }
    this.#counts.resynced += 1;
    const facts = { subscription: name, event: delivery.event.id, handled };
    this.#bus.log.warn(facts, 'events are lost: the entity is resynced');
  }
}
