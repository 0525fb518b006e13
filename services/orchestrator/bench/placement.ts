/**
 * Placements a second on one core over 10,000 hosts (DESIGN section 11), each claimed in memory before the
 * next. Run by hand: `pnpm exec node services/orchestrator/bench/placement.ts`.
 */
import { performance } from 'node:perf_hooks';
import type { HostView } from '../src/domain/planner/host-view.ts';
import { planDeployment } from '../src/domain/planner/plan.ts';

const GiB = 1024 ** 3;
const total = { vcpus: 256, memoryBytes: 512 * GiB, diskBytes: 4096 * GiB };
const needs = { vcpus: 2, memoryBytes: 4 * GiB, diskBytes: 20 * GiB };
const hosts: HostView[] = Array.from({ length: 10_000 }, (_, index) => ({
  uid: `h${index}`,
  displayName: `h${index}`,
  zone: 'z',
  architecture: 'x86_64',
  link: 'up',
  admin: 'enabled',
  health: 'healthy',
  total,
  free: total,
}));
const indexOf = new Map(hosts.map(({ uid }, index) => [uid, index]));

function claim(hostUid: string): void {
  const index = indexOf.get(hostUid) as number;
  const host = hosts[index] as HostView;
  const free = {
    vcpus: host.free.vcpus - needs.vcpus,
    memoryBytes: host.free.memoryBytes - needs.memoryBytes,
    diskBytes: host.free.diskBytes - needs.diskBytes,
  };
  hosts[index] = { ...host, free };
}

const placements = 100_000;
const started = performance.now();
for (let placed = 0; placed < placements; placed += 1) {
  const request = {
    vmUid: `vm${placed}`,
    zone: 'z',
    needs,
    architecture: '',
    excludedHosts: new Set<string>(),
    maxCandidates: 3,
  };
  const [first] = planDeployment(hosts, request, Math.random).candidates;
  if (first === undefined) throw new Error(`nothing fits after ${placed} placements`);
  claim(first.hostUid);
}
const seconds = (performance.now() - started) / 1000;
process.stdout.write(
  `${JSON.stringify({ bench: 'placement', hosts: hosts.length, perSecond: Math.round(placements / seconds) })}\n`,
);
