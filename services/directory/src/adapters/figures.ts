/** What the directory tells of itself where metrics are asked for: instances, watchers, renewals, refusals. */
import type { Counter, Meter, ObservableResult } from '@opentelemetry/api';
import type { Registry } from '../registry.ts';
import type { Watching } from '../watching.ts';

export interface DirectoryCounters {
  readonly renewals: Counter;
  readonly refusals: Counter;
}

export function measure(
  meter: Meter,
  registry: Registry,
  watching: Watching,
  resources: DisposableUser,
): DirectoryCounters {
  const instances = meter.createObservableGauge('nephos.directory.instances', {
    description: 'instances listed, by service and health (silent: not heard of)',
  });
  const watchers = meter.createObservableGauge('nephos.directory.watchers', { description: 'watches open' });
  const countInstances = (result: ObservableResult) => {
    const counts = new Map<string, { service: string; health: string; count: number }>();
    for (const { state, silent } of registry.list()) {
      const { service, health } = state.facts;
      const word = silent ? 'silent' : health.toLowerCase();
      const key = `${service} ${word}`;
      const known = counts.get(key) ?? { service, health: word, count: 0 };
      counts.set(key, { ...known, count: known.count + 1 });
    }
    for (const { service, health, count } of counts.values()) result.observe(count, { service, health });
  };
  const countWatchers = (result: ObservableResult) => result.observe(watching.watchers);
  instances.addCallback(countInstances);
  watchers.addCallback(countWatchers);
  resources.defer(() => {
    instances.removeCallback(countInstances);
    watchers.removeCallback(countWatchers);
  });
  return {
    renewals: meter.createCounter('nephos.directory.renewals', { description: 'renewals taken' }),
    refusals: meter.createCounter('nephos.directory.refusals', {
      description: 'calls refused for who made them, by call and reason',
    }),
  };
}

type DisposableUser = Pick<AsyncDisposableStack, 'defer'>;
