/**
 * The relay: carries pending events from the store's outbox to the broker.
 * Owner: the service that owns the store. Invariants: an entity has at most one publish that is not
 * acknowledged, the head of its pending events; only what was acknowledged is cleared, from the head on; the
 * head stays the head until acknowledged, under the same message id. What it holds in memory is a hint and is
 * dropped when the connection is lost; the outbox is read again. A crash between publish and clear leads to the
 * same publish again: the broker drops it by its id, or subscribers drop it by its sequence.
 */
import { type Clock, failpoint } from '@nephos/service';
import type { CommittedEvent, PendingDocument, PendingEvent, Store } from '@nephos/store';
import { encodeWithin } from './bounded-event.ts';
import type { Bus, Session } from './bus.ts';
import { eventId, isRemoval, payloadOf, removedHeader } from './cloudevent.ts';
import type { EventsContext, EventsLog } from './context.ts';
import { EncodedPayload } from './encoded-payload.ts';
import { Clearing } from './relay-clearing.ts';
import { Fence } from './relay-fence.ts';
import { type Lane, Lanes } from './relay-lanes.ts';
import { RelayMeter, type RelayMetrics } from './relay-metrics.ts';
import { Restatement } from './restate.ts';
import { subjectOf } from './subject.ts';
import { Sweeper } from './sweep.ts';

export interface RelayOptions {
  readonly store: Store;
  readonly bus: Bus;
  /** Publishes without acknowledgement at once, over all entities. Default 500. */
  readonly inFlight?: number;
  /** How often the outbox is read though nothing was told, in milliseconds. Default 5 s. */
  readonly pollMs?: number;
}

/** Disposing waits for what is in flight, at most 2 s. */
export interface Relay extends AsyncDisposable {
  readonly metrics: RelayMetrics;
  /** Resolves once nothing is pending: published, acknowledged and cleared. Waits for the broker. */
  flush(signal?: AbortSignal): Promise<void>;
}

/** Starts publishing, now and whenever the broker is there. */
export function startRelay(context: EventsContext, options: RelayOptions): Relay {
  const relay = new OutboxRelay(context, options);
  context.resources?.use(relay);
  return relay;
}

/** Documents read from the outbox at once. */
const pageSize = 500;
/** Acknowledged events of an entity with more to come that are cleared together. */
const clearEvery = 16;
const stopGraceMs = 2_000;
/** So many publishes in a row that failed say that the broker takes nothing now. */
const refusedAfter = 10;
const retryMs = { first: 100, longest: 5_000 };

class OutboxRelay implements Relay {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: EventsLog;
  readonly #maxInFlight: number;
  readonly #pollMs: number;
  readonly #lanes: Lanes;
  readonly #meter: RelayMeter;
  readonly #clearing: Clearing;
  readonly #fence: Fence;
  readonly #restatement: Restatement;
  readonly #closing = new AbortController();
  readonly #resources = new DisposableStack();
  readonly #loop: Promise<void>;
  #session: Session | undefined;
  /** False until the session is known to hold what was acknowledged: nothing may overtake a restatement. */
  #hearing = false;
  #inFlight = 0;
  #failures = 0;
  #wake: () => void = () => undefined;
  #scanWanted = true;
  #scanning = false;

  constructor(context: EventsContext, options: RelayOptions) {
    this.#store = options.store;
    this.#clock = context.clock;
    this.#log = context.log;
    this.#maxInFlight = options.inFlight ?? 500;
    this.#pollMs = options.pollMs ?? 5_000;
    this.#lanes = new Lanes(options.store.exclusive);
    this.#meter = this.#resources.use(new RelayMeter(context, this.#lanes, () => this.#inFlight));
    this.#clearing = new Clearing(options.store.outbox, context, {
      onCleared: (lane) => this.#lanes.drop(lane),
      onDoubt: () => this.#lanes.doubt(),
    });
    const onTakenBack = (count: number): void => this.#meter.takenBack(count);
    this.#fence = new Fence({ ...context, store: options.store, onTakenBack });
    this.#restatement = new Restatement(options.store, context, this.#fence);
    this.#resources.use(new Sweeper(options.store, options.bus));
    this.#resources.use(options.store.outbox.onPending((committed) => this.#hear(committed)));
    this.#resources.use(options.bus.onSession((session) => this.#begin(session)));
    this.#loop = this.#run();
  }

  get metrics(): RelayMetrics {
    return this.#meter.metrics;
  }

  async flush(signal?: AbortSignal): Promise<void> {
    for (;;) {
      signal?.throwIfAborted();
      this.#closing.signal.throwIfAborted();
      const busy = this.#scanning || this.#lanes.size > 0;
      if (!busy && (await this.#store.outbox.pending({ limit: 1 })).length === 0) return;
      if (!busy) this.#scanSoon();
      await this.#clock.sleep(5, signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the relay is stopped'));
    this.#resources.dispose();
    const deadline = this.#clock.monotonic() + stopGraceMs;
    while (this.#session && this.#inFlight > 0 && this.#clock.monotonic() < deadline)
      await this.#clock.sleep(5);
    await this.#loop;
    for (const lane of this.#lanes.acknowledged()) this.#clearing.want(lane);
    await this.#clearing.settled();
    await this.#restatement.remember();
  }

  #begin(session: Session): void {
    this.#session = session;
    this.#inFlight = 0;
    session.signal.addEventListener('abort', () => this.#end(session), { once: true });
    this.#scanSoon();
  }

  /** Drops what is in memory; only what was acknowledged is worth keeping, by clearing it. */
  #end(session: Session): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#hearing = false;
    const acknowledged = this.#lanes.acknowledged();
    this.#lanes.reset();
    for (const lane of acknowledged) this.#clearing.want(lane);
  }

  #hear(committed: readonly CommittedEvent[]): void {
    if (!this.#hearing) return;
    // While the broker refuses, memory takes no more: it waits in the outbox, where it collapses.
    if (this.#failures >= refusedAfter) return this.#lanes.miss(this.#clock.monotonic());
    for (const { collection, id, event } of committed) {
      const since = this.#fence.writtenAt(event);
      if (this.#lanes.hear(collection, id, event, since) === 'unsure') this.#scanSoon();
    }
    this.#pump();
  }

  #scanSoon(): void {
    this.#scanWanted = true;
    this.#wake();
  }

  /** Reads the outbox whenever asked to, and now and then unasked. */
  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const session = this.#session;
      if (!session) await this.#survey();
      else if (this.#scanWanted) await this.#scan(session);
      if (signal.aborted) return;
      if (this.#scanWanted && this.#session) continue;
      const woken = new Promise<void>((resolve) => (this.#wake = resolve));
      const timer = this.#clock.timer(this.#pollMs, () => this.#scanSoon());
      signal.addEventListener('abort', this.#wake, { once: true });
      if (!this.#scanWanted || !this.#session) await woken;
      signal.removeEventListener('abort', this.#wake);
      timer[Symbol.dispose]();
    }
  }

  async #survey(): Promise<void> {
    try {
      await this.#meter.survey(this.#store.outbox);
    } catch (error) {
      this.#log.debug({ error }, 'the outbox could not be looked at');
    }
  }

  async #scan(session: Session): Promise<void> {
    this.#scanWanted = false;
    this.#scanning = true;
    try {
      await this.#fence.check(session);
      await this.#restatement.check(session);
      if (this.#session !== session) return;
      this.#hearing = true;
      this.#lanes.scanBegins(this.#clock.monotonic());
      let after: string | undefined;
      for (;;) {
        const page = await this.#store.outbox.pending({
          limit: pageSize,
          read: EncodedPayload.read,
          ...(after !== undefined && { after }),
        });
        if (page.length === 0 || this.#session !== session || this.#closing.signal.aborted) break;
        after = page.at(-1)?.key;
        this.#take(page);
        await this.#room(session);
      }
      if (this.#session === session) this.#lanes.scanEnds();
      this.#meter.connected();
      this.#pump();
    } catch (error) {
      if (session.signal.aborted || this.#closing.signal.aborted) return;
      this.#log.warn({ error }, 'reading the outbox failed');
      await this.#clock.sleep(retryMs.first, this.#closing.signal).catch(() => undefined);
      this.#scanWanted = true;
    } finally {
      this.#scanning = false;
    }
  }

  #take(page: readonly PendingDocument[]): void {
    for (const document of page) this.#lanes.found(document);
    this.#pump();
  }

  async #room(session: Session): Promise<void> {
    while (this.#lanes.full && this.#session === session) await this.#clock.sleep(5, this.#closing.signal);
  }

  #pump(): void {
    while (this.#session && this.#inFlight < this.#maxInFlight && !this.#closing.signal.aborted) {
      const lane = this.#lanes.next();
      if (!lane) return;
      void this.#publish(this.#session, lane, lane.head);
    }
  }

  async #publish(session: Session, lane: Lane, event: PendingEvent): Promise<void> {
    this.#inFlight += 1;
    try {
      const told = !this.#fence.trusts(lane) && (await this.#fence.isPublished(session, lane, event));
      if (told) this.#meter.published(true);
      else await this.#send(session, lane, event);
      if (this.#failures >= refusedAfter) this.#scanSoon();
      this.#failures = 0;
      lane.acknowledge(event);
    } catch (error) {
      if (session.signal.aborted) return;
      this.#meter.failed();
      this.#log.warn({ error, collection: lane.collection, id: lane.id }, 'publishing an event failed');
      this.#failures += 1;
      const pause = Math.min(retryMs.longest, retryMs.first * 2 ** Math.min(this.#failures, 10));
      await this.#clock
        .sleep(pause, AbortSignal.any([session.signal, this.#closing.signal]))
        .catch(() => undefined);
    } finally {
      if (this.#session === session) this.#inFlight -= 1;
    }
    if (this.#session === session) this.#goOn(lane);
  }

  async #send(session: Session, lane: Lane, event: PendingEvent): Promise<void> {
    const payload = payloadOf(event.payload);
    const { tree, address } = payload;
    const headers = isRemoval(payload) ? { [removedHeader]: '1' } : undefined;
    const messageId = eventId(address, event.seq);
    const body = encodeWithin(payload, event, session.publisher);
    await failpoint('relay.publish', { event: messageId });
    const sentAt = this.#clock.monotonic();
    const sent = session.publisher.publish(subjectOf(tree, address), body, messageId, headers);
    const { duplicate, streamSequence } = await sent;
    this.#meter.published(duplicate);
    if (tree === 'entities') this.#restatement.acknowledged(streamSequence, messageId);
    if (duplicate) return;
    const placed = { place: streamSequence, sequence: event.seq };
    const settling = this.#fence.settle(session, lane, event, sentAt, placed);
    if (settling) await settling;
  }

  #goOn(lane: Lane): void {
    if (lane.unclearedCount >= clearEvery || (lane.isEmpty && lane.unclearedCount > 0))
      this.#clearing.want(lane);
    this.#lanes.settled(lane);
    this.#pump();
  }
}
