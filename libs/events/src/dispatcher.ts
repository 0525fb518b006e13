/**
 * Hands deliveries to the handler: one at a time per entity and in order, several entities at once, each
 * sequence once, with retries and at last a dead letter.
 * Invariants: a delivery is acknowledged only after it was handled, dropped as handled before, or set aside; an
 * entity that waits for another try, or for what a gap hid, holds up nobody else. A crash forgets all of this:
 * what was not acknowledged is delivered again.
 */
import { context as otel, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import type { Bus } from './bus.ts';
import type { EntityEvent } from './cloudevent.ts';
import { putDeadLetter } from './dead-letter.ts';
import { type Delivery, EntityLane, type Redrive } from './entity-lane.ts';
import { latestOf, nextOf } from './history.ts';
import type { EventTree } from './subject.ts';
import type { SubscriptionCounts } from './subscription.ts';

export interface DispatchOptions {
  readonly name: string;
  readonly tree: EventTree;
  readonly concurrency: number;
  readonly attempts: number;
  readonly backoffMs: number;
  /** Calls the subscriber's handler. `redriven`: it is a dead letter that is tried once more. */
  readonly handle: (event: EntityEvent, attempt: number, body: string, redriven: boolean) => Promise<void>;
}

const longestBackoffMs = 60_000;
/** Entities whose last sequence is remembered; forgetting one only weakens the check for repeats. */
const rememberedEntities = 200_000;

export class Dispatcher {
  readonly #bus: Bus;
  readonly #options: DispatchOptions;
  readonly #signal: AbortSignal;
  readonly #lanes = new Map<string, EntityLane>();
  readonly #held = new Set<Delivery>();
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
  }

  get counts(): SubscriptionCounts {
    return { ...this.#counts };
  }

  /** The place in the stream from which on something may not have been handled; 0 before the first delivery. */
  get position(): number {
    let lowest = this.#highest === 0 ? 0 : this.#highest + 1;
    for (const { streamSequence } of this.#held) {
      if (streamSequence > 0 && streamSequence < lowest) lowest = streamSequence;
    }
    return lowest;
  }

  /** How many deliveries are in hand. */
  get held(): number {
    return this.#held.size;
  }

  /** All up to here was handled before. */
  beginAfter(streamSequence: number): void {
    this.#highest = Math.max(this.#highest, streamSequence);
  }

  /** The stream was made anew: places in it are counted from its beginning again. */
  newStream(): void {
    this.#highest = 0;
    for (const lane of this.#lanes.values()) lane.handledAt = 0;
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
    this.#held.add(delivery);
    this.#giveTurn(lane);
  }

  /** Tells the broker that all that is held is still in hand. */
  keepHeld(): void {
    for (const delivery of this.#held) delivery.working();
  }

  /** Resolves when nothing is held, or at the signal's abort. */
  async idle(): Promise<void> {
    if (this.#held.size === 0 || this.#signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#onIdle.push(resolve);
      this.#signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  #laneOf(natsSubject: string): EntityLane {
    const known = this.#lanes.get(natsSubject);
    if (known) return known;
    const lane = new EntityLane();
    this.#lanes.set(natsSubject, lane);
    if (this.#lanes.size > rememberedEntities) this.#forgetOne();
    return lane;
  }

  #forgetOne(): void {
    for (const [key, lane] of this.#lanes) {
      if (lane.busy) continue;
      this.#lanes.delete(key);
      return;
    }
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
        await inTraceOf(event, () => this.#options.handle(event, lane.attempt, delivery.body, false));
        this.#counts.handled += 1;
        this.#done(lane, delivery);
      }
    } catch (error) {
      pauseMs = await this.#failed(lane, delivery, error);
    } finally {
      this.#running -= 1;
    }
    if (pauseMs === 0) this.#again(lane);
    else this.#bus.clock.timer(pauseMs, () => this.#again(lane));
    this.#pump();
  }

  /** One try, between the entity's other events. Where the lane stands is no matter of an event that has passed. */
  async #redrive(lane: EntityLane, delivery: Delivery, { attempt, settle }: Redrive): Promise<void> {
    const { event, body } = delivery;
    let failure: string | undefined;
    try {
      await inTraceOf(event, () => this.#options.handle(event, attempt, body, true));
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

  #again(lane: EntityLane): void {
    lane.busy = false;
    this.#giveTurn(lane);
    if (this.#held.size > 0) return;
    for (const resolve of this.#onIdle.splice(0)) resolve();
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
    const { event, streamSequence } = delivery;
    const session = await this.#bus.ready(this.#signal);
    const { tree, name } = this.#options;
    const handled = lane.handled ?? 0;
    const missing: Delivery[] = [];
    let covered = handled;
    for (let at = lane.handledAt + 1; covered + 1 < event.firstSequence; ) {
      const found = await nextOf(session, tree, event, at);
      if (!found || (streamSequence > 0 && found.streamSequence >= streamSequence)) break;
      at = found.streamSequence + 1;
      if (found.event.sequence <= covered) continue;
      if (found.event.firstSequence > covered + 1) break;
      covered = found.event.sequence;
      missing.push(beside(found));
    }
    if (covered + 1 >= event.firstSequence) {
      this.#counts.recovered += missing.length;
      return lane.putFirst(missing);
    }
    const latest = await latestOf(session, tree, event);
    const newest = latest && latest.event.sequence > event.sequence ? latest : delivery;
    this.#counts.resynced += 1;
    this.#bus.log.warn(
      { subscription: name, event: event.id, handled },
      'events are lost: the entity is resynced',
    );
    const resynced = { ...newest.event, firstSequence: handled + 1, resync: true };
    lane.putFirst([beside({ ...newest, event: resynced })]);
  }
}

/** A delivery of something that was read beside the subscription. */
function beside({ event, body, natsSubject }: Pick<Delivery, 'event' | 'body' | 'natsSubject'>): Delivery {
  const nothing = (): void => undefined;
  return { event, body, natsSubject, streamSequence: 0, ack: nothing, working: nothing };
}

/** Runs the handler as a span of the trace that the change belongs to. */
function inTraceOf(event: EntityEvent, run: () => Promise<void>): Promise<void> {
  const [, traceId, spanId, flags] = event.traceparent?.split('-') ?? [];
  if (!traceId || !spanId) return run();
  const parent = { traceId, spanId, traceFlags: Number.parseInt(flags ?? '0', 16), isRemote: true };
  const from = trace.setSpanContext(ROOT_CONTEXT, parent);
  const span = trace.getTracer('@nephos/events').startSpan(`${event.entity} ${event.verb}`, {}, from);
  return otel.with(trace.setSpan(from, span), run).finally(() => span.end());
}
