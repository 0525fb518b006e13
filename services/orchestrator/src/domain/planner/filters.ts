/**
 * Feasibility: each filter says whether a host can take the VM and, if not, by how much it missed. The order
 * is the order in which a host's first reason is counted: what an operator can least change comes first.
 */
import type { Amounts, HostView, PlanRequest } from './host-view.ts';

export interface Filter {
  /** The stable reason that a rejection is counted under. */
  readonly reason: string;
  /** `undefined` if the host passes. */
  rejects(host: HostView, request: PlanRequest): Lack | undefined;
}

export interface Lack {
  /** For people, after the host's name. */
  readonly words: string;
  /** How far off, as a share of what is needed; 1 for what is not a matter of degree. */
  readonly share: number;
}

const MiB = 1024 * 1024;

function amount(reason: string, key: keyof Amounts, words: (lack: number) => string): Filter {
  return {
    reason,
    rejects({ free }, { needs }) {
      const lack = needs[key] - free[key];
      return lack <= 0 ? undefined : { words: words(lack), share: lack / needs[key] };
    },
  };
}

function fact(reason: string, words: (host: HostView, request: PlanRequest) => string | undefined): Filter {
  return {
    reason,
    rejects(host, request) {
      const said = words(host, request);
      return said === undefined ? undefined : { words: said, share: 1 };
    },
  };
}

export const filters: readonly Filter[] = [
  fact('zone', (host, { zone }) => (host.zone === zone ? undefined : 'is in another zone')),
  fact('other-host', (host, { onlyHost }) =>
    onlyHost === undefined || host.uid === onlyHost ? undefined : 'is not the host asked for',
  ),
  fact('architecture', (host, { architecture }) =>
    architecture === '' || host.architecture === architecture ? undefined : `is ${host.architecture}`,
  ),
  fact('admin', ({ admin }) => (admin === 'enabled' ? undefined : `is ${admin}`)),
  fact('link', ({ link }) => (link === 'up' ? undefined : `its agent is ${link}`)),
  fact('health', ({ health }) => (health === 'healthy' ? undefined : `is ${health}`)),
  fact('refused', ({ uid }, { excludedHosts }) =>
    excludedHosts.has(uid) ? 'had its last room taken meanwhile' : undefined,
  ),
  amount('memory', 'memoryBytes', (lack) => `lacks ${Math.ceil(lack / MiB)} MiB of memory`),
  amount('vcpus', 'vcpus', (lack) => `lacks ${lack} virtual CPUs`),
  amount('disk', 'diskBytes', (lack) => `lacks ${Math.ceil(lack / MiB)} MiB of disk`),
];
