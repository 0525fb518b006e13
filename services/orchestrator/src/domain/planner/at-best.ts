/**
 * A host as it would be at its best: empty, open, healthy and within reach. What does not fit then never will. A host
 * whose size is not known yet may be of any.
 */
import type { HostView } from './host-view.ts';

const boundless = {
  vcpus: Number.POSITIVE_INFINITY,
  memoryBytes: Number.POSITIVE_INFINITY,
  diskBytes: Number.POSITIVE_INFINITY,
};

export function atBest(host: HostView): HostView {
  const total = host.total.memoryBytes === 0 ? boundless : host.total;
  return { ...host, link: 'up', admin: 'enabled', health: 'healthy', total, free: total };
}
