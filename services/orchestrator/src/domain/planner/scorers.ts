/**
 * Preference among hosts that can take the VM. Each scorer gives 0 (worst) to 1 (best); the weighted sum
 * decides. Scores mean nothing across requests.
 */
import type { HostView, PlanRequest } from './host-view.ts';

export interface Scorer {
  readonly name: string;
  readonly weight: number;
  score(host: HostView, request: PlanRequest): number;
}

function leftShare(free: number, needs: number, total: number): number {
  return total > 0 ? (free - needs) / total : 0;
}

export const scorers: readonly Scorer[] = [
  {
    // Spreads VMs: the host whose scarcest resource stays the most free wins.
    name: 'spread',
    weight: 1,
    score: ({ free, total }, { needs }) =>
      Math.min(
        leftShare(free.memoryBytes, needs.memoryBytes, total.memoryBytes),
        leftShare(free.vcpus, needs.vcpus, total.vcpus),
      ),
  },
  {
    // Keeps CPU and memory used in step, so that neither strands the other.
    name: 'balance',
    weight: 0.25,
    score: ({ free, total }, { needs }) =>
      1 -
      Math.abs(
        leftShare(free.memoryBytes, needs.memoryBytes, total.memoryBytes) -
          leftShare(free.vcpus, needs.vcpus, total.vcpus),
      ),
  },
];

export function scoreOf(host: HostView, request: PlanRequest): number {
  let sum = 0;
  for (const scorer of scorers) sum += scorer.weight * scorer.score(host, request);
  return sum;
}
