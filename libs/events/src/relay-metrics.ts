/** How the relay is doing, for tests, health and OpenTelemetry. */

import type { Clock } from '@nephos/service';
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
  /** Entities known to have pending events; more may wait in the outbox while the broker is away. */
  readonly entitiesPending: number;
  /** Age of the oldest of these events, in milliseconds of this machine's wall clock. */
  readonly lagMs: number;
}

export class RelayMeter implements Disposable {
  readonly #lanes: Lanes;
  readonly #clock: Clock;
  readonly #stop: () => void;
  readonly #counted;
  #published = 0;
  #duplicates = 0;
  #failed = 0;
  #takenBack = 0;

  constructor(context: EventsContext, lanes: Lanes) {
    this.#lanes = lanes;
    this.#clock = context.clock;
    const meter = metrics.getMeter('@nephos/events');
    const attributes = { service: context.name };
    this.#counted = meter.createCounter('nephos.events.published', { description: 'Events acknowledged' });
    const lag = meter.createObservableGauge('nephos.events.relay.lag', {
      unit: 'ms',
      description: 'Age of the oldest event that waits for the broker',
    });
    const observe = (result: ObservableResult): void => result.observe(this.metrics.lagMs, attributes);
    lag.addCallback(observe);
    this.#stop = () => lag.removeCallback(observe);
  }

  get metrics(): RelayMetrics {
    const oldest = this.#lanes.oldest();
    return {
      published: this.#published,
      duplicates: this.#duplicates,
      failed: this.#failed,
      takenBack: this.#takenBack,
      entitiesPending: this.#lanes.size,
      lagMs: oldest === undefined ? 0 : Math.max(0, this.#clock.now().getTime() - Date.parse(oldest)),
    };
  }

  published(duplicate: boolean): void {
    this.#published += 1;
    if (duplicate) this.#duplicates += 1;
    this.#counted.add(1);
  }

  failed(): void {
    this.#failed += 1;
  }

  takenBack(count: number): void {
    this.#takenBack += count;
  }

  [Symbol.dispose](): void {
    this.#stop();
  }
}
