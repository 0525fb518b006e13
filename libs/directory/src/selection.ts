/** Which instances a selector means, and which addresses calls go to. Pure. */
import type { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import type { Target } from './choice.ts';
import type { Selector } from './types.ts';

/** What instances are selected by. */
export interface Traits {
  readonly version: string;
  readonly zone: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Empty texts in a selector select nothing away. */
export function selects(selector: Selector, { version, zone, labels }: Traits): boolean {
  if (selector.version && selector.version !== version) return false;
  if (selector.zone && selector.zone !== zone) return false;
  return Object.entries(selector.labels ?? {}).every(([key, value]) => labels[key] === value);
}

export function matching(instances: readonly Instance[], selector: Selector): readonly Instance[] {
  return instances.filter(({ version, header }) =>
    selects(selector, { version, zone: header?.zone ?? '', labels: header?.labels ?? {} }),
  );
}

export const defaultWeight = 100;

/** Where calls to these instances can go; instances that share an address share its weight. */
export function targetsOf(instances: readonly Instance[]): Target[] {
  const byAddress = new Map<string, Target>();
  for (const { address, weight, header } of instances) {
    byAddress.set(address, {
      address,
      zone: header?.zone ?? '',
      weight: weight > 0 ? weight : defaultWeight,
    });
  }
  return [...byAddress.values()];
}

/** `/orchestrator?version=1.2.0&zone=…&label.agent=abc`, the path of a `nephos:` target. Throws on any other key. */
export function parseTarget(path: string): { service: string; selector: Selector } {
  const [name = '', query = ''] = path.replace(/^\/+/, '').split('?', 2);
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(name)) throw new Error(`not a service's name: ${JSON.stringify(name)}`);
  const labels: Record<string, string> = {};
  const exact: { version?: string; zone?: string } = {};
  for (const [key, value] of new URLSearchParams(query)) {
    if (key.startsWith('label.')) labels[key.slice('label.'.length)] = value;
    else if (key === 'version' || key === 'zone') exact[key] = value;
    else throw new Error(`a nephos target takes version, zone and label.<key>, not ${JSON.stringify(key)}`);
  }
  return { service: name, selector: { ...exact, labels } };
}
