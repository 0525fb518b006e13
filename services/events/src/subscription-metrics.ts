/** Lag and age of every subscription, for OpenTelemetry: asked of the broker whenever somebody reads the figures. */
import type { Bus } from '@nephos/events';
import type { Clock } from '@nephos/service';
import type { BatchObservableResult, Meter } from '@opentelemetry/api';
import type { Activity } from './activity.ts';
import { findSubscriptions, oldestUnhandled } from './adapters/subscription-reader.ts';
import { subscriptionName } from './domain/subscription-name.ts';

export interface MetricDeps {
  readonly bus: Bus;
  readonly activity: Activity;
  readonly clock: Clock;
}

/** Disposing ends it. */
export function observeSubscriptions(meter: Meter, { bus, activity, clock }: MetricDeps): Disposable {
  const gauge = (name: string, description: string, unit = '1') =>
    meter.createObservableGauge(`nephos.subscription.${name}`, { description, unit });
  const lag = gauge('lag', 'Events not given out yet');
  const unacknowledged = gauge('unacknowledged', 'Events given out and not acknowledged yet');
  const age = gauge('oldest_unhandled_age', 'Age of the oldest event that is not handled', 's');
  const read = gauge('read', '1 while somebody reads, else 0');
  const observe = async (result: BatchObservableResult): Promise<void> => {
    const { session } = bus;
    if (!session) return;
    for (const found of await findSubscriptions(session)) {
      const { tree, info } = found;
      const attributes = { subscription: subscriptionName(tree, info.name).slice('subscriptions/'.length) };
      const oldest = await oldestUnhandled(session, found);
      result.observe(lag, info.num_pending, attributes);
      result.observe(unacknowledged, info.num_ack_pending, attributes);
      result.observe(
        age,
        oldest ? Math.max(0, clock.now().getTime() - oldest.getTime()) / 1000 : 0,
        attributes,
      );
      result.observe(read, activity.isRead(found) ? 1 : 0, attributes);
    }
  };
  const all = [lag, unacknowledged, age, read];
  meter.addBatchObservableCallback(observe, all);
  return { [Symbol.dispose]: () => meter.removeBatchObservableCallback(observe, all) };
}
