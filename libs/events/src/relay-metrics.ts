/**
 * How the relay is doing, for tests, health and OpenTelemetry (names: README).
 * While the broker is away nothing is held in memory: then the outbox itself is looked at now and then.
 */
import type { Clock } from '@nephos/service';
import type { Outbox } from '@nephos/store';
import { metrics, type ObservableResult } from '@opentelemetry/api';
import type { EventsContext } from './context.ts';
import type { Lanes } from './relay-lanes.ts';

export interface RelayMetrics {
  /** Publishes acknowledged. */
  readonly published: number;
  /** Of these, those that the broker had already. */
  readonly duplicates: number;
  /** Events that another relay had told already when they came: taken out of the stream again. */
  readonly takenBack: number;
  /** Publishes that failed and are repeated. */
  readonly failed: number;
  /** Publishes without acknowledgement at this moment. */
  readonly inFlight: number;
  /** Entities known to have pending events. */
  readonly entitiesPending: number;
  /** Age of the oldest of these events, in milliseconds of this machine's wall clock. */
  readonly lagMs: number;
}

/** Documents of the outbox that a look counts, at most. */
const mostCounted = 5_000;
const pageSize = 500;

export class RelayMeter implements Disposable {
  readonly #lanes: Lanes;
  readonly #clock: Clock;
  readonly #inFlight: () => number;
  readonly #resources = new DisposableStack();
  readonly #counts = { published: 0, duplicates: 0, failed: 0, takenBack: 0 };
  /** What the outbox was seen to hold while nothing was in memory. */
  #surveyed: { readonly entities: number; readonly oldest: string | undefined } | undefined;

  constructor(context: EventsContext, lanes: Lanes, inFlight: () => number) {
    this.#lanes = lanes;
    this.#clock = context.clock;
    this.#inFlight = inFlight;
    this.#observe(context.name);
  }

  get metrics(): RelayMetrics {
    const { entities, oldest } = this.#surveyed ?? {
      entities: this.#lanes.size,
      oldest: this.#lanes.oldest(),
    };
    return {
      ...this.#counts,
      inFlight: this.#inFlight(),
      entitiesPending: entities,
      lagMs: oldest === undefined ? 0 : Math.max(0, this.#clock.now().getTime() - Date.parse(oldest)),
    };
  }

  published(duplicate: boolean): void {
    this.#counts.published += 1;
    if (duplicate) this.#counts.duplicates += 1;
  }

  failed(): void {
    this.#counts.failed += 1;
  }

  takenBack(count: number): void {
    this.#counts.takenBack += count;
  }

  /** What is pending is in memory again. */
  connected(): void {
    this.#surveyed = undefined;
  }

  /** Looks at what waits for the broker to come back. */
  async survey(outbox: Outbox): Promise<void> {
    let [entities, oldest, after] = [0, undefined as string | undefined, undefined as string | undefined];
    while (entities < mostCounted) {
      const page = await outbox.pending({ limit: pageSize, ...(after !== undefined && { after }) });
      if (page.length === 0) break;
      entities += page.length;
      after = page.at(-1)?.key;
      for (const { events } of page) {
        const at = events[0]?.at;
        if (at !== undefined && (oldest === undefined || at < oldest)) oldest = at;
      }
    }
    this.#surveyed = { entities, oldest };
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }

  #observe(service: string): void {
    const meter = metrics.getMeter('@nephos/events');
    const gauges = {
      pending: (now: RelayMetrics) => now.entitiesPending,
      'oldest.age': (now: RelayMetrics) => now.lagMs / 1_000,
      'in.flight': (now: RelayMetrics) => now.inFlight,
    };
    for (const [key, read] of Object.entries(gauges)) {
      const gauge = meter.createObservableGauge(`nephos.events.relay.${key}`);
      const callback = (result: ObservableResult): void => result.observe(read(this.metrics), { service });
      gauge.addCallback(callback);
      this.#resources.defer(() => gauge.removeCallback(callback));
    }
    const counter = meter.createObservableCounter('nephos.events.relay.events');
    const count = (result: ObservableResult): void => {
      for (const [outcome, value] of Object.entries(this.#counts))
        result.observe(value, { service, outcome });
    };
    counter.addCallback(count);
    this.#resources.defer(() => counter.removeCallback(count));
  }
}
