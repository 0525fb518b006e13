/**
 * The planner: a pure function from host views and a request to hosts in order of preference, or to reasons.
 * Up to `fullScan` hosts it looks at all of them. Above, it looks at random ones until `sampleFeasible` of
 * them fit: a sample of a large fleet is nearly as good as the best, and spreads concurrent placements so
 * that their claims seldom meet. Only when a sample finds too few does it look at every host, so a refusal
 * always speaks of the whole fleet.
 */
import { type Filter, filters, type Lack } from './filters.ts';
import type { HostView, Plan, PlanRequest } from './host-view.ts';
import { scoreOf } from './scorers.ts';

const fullScan = 64;
const sampleFeasible = 16;
const sampleMost = 128;

interface Scored {
  readonly hostUid: string;
  readonly score: number;
}

/** `random` gives numbers in [0, 1); handed in so that a plan can be repeated. */
export function planDeployment(hosts: readonly HostView[], request: PlanRequest, random: () => number): Plan {
  if (hosts.length > fullScan && request.onlyHost === undefined) {
    const sampled = sample(hosts, request, random);
    if (sampled.candidates.length >= request.maxCandidates) return sampled;
  }
  return scan(hosts, request);
}

function sample(hosts: readonly HostView[], request: PlanRequest, random: () => number): Plan {
  const fitting: Scored[] = [];
  const start = Math.floor(random() * hosts.length);
  const stride = strideFor(hosts.length, random);
  const most = Math.min(sampleMost, hosts.length);
  let considered = 0;
  while (considered < most && fitting.length < sampleFeasible) {
    const host = hosts[(start + considered * stride) % hosts.length];
    considered += 1;
    if (host !== undefined && firstMiss(host, request) === undefined) {
      fitting.push({ hostUid: host.uid, score: scoreOf(host, request) });
    }
  }
  return { candidates: best(fitting, request.maxCandidates), rejections: [], considered, closestMiss: '' };
}

/** A step coprime to the fleet's size, so that no host is looked at twice. */
function strideFor(size: number, random: () => number): number {
  let stride = 1 + Math.floor(random() * (size - 1));
  while (greatestCommonDivisor(stride, size) !== 1) stride = (stride % size) + 1;
  return stride;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function scan(hosts: readonly HostView[], request: PlanRequest): Plan {
  const fitting: Scored[] = [];
  const counts = new Map<string, number>();
  let nearest: Miss | undefined;
  for (const host of hosts) {
    const miss = firstMiss(host, request);
    if (miss === undefined) {
      fitting.push({ hostUid: host.uid, score: scoreOf(host, request) });
      continue;
    }
    counts.set(miss.reason, (counts.get(miss.reason) ?? 0) + 1);
    if (nearest === undefined || isNearer(miss, nearest)) nearest = miss;
  }
  const rejections = [...counts].map(([reason, count]) => ({ reason, hosts: count }));
  return {
    candidates: best(fitting, request.maxCandidates),
    rejections: rejections.sort((a, b) => b.hosts - a.hosts || a.reason.localeCompare(b.reason)),
    considered: hosts.length,
    closestMiss: fitting.length > 0 || nearest === undefined ? '' : wordsOf(nearest),
  };
}

/** The first filter that a host fails. */
interface Miss {
  readonly host: HostView;
  readonly reason: string;
  readonly lack: Lack;
  /** Filters passed before it. */
  readonly passed: number;
}

function firstMiss(host: HostView, request: PlanRequest): Miss | undefined {
  for (let passed = 0; passed < filters.length; passed += 1) {
    const filter = filters[passed] as Filter;
    const lack = filter.rejects(host, request);
    if (lack !== undefined) return { host, reason: filter.reason, lack, passed };
  }
  return undefined;
}

function isNearer(miss: Miss, than: Miss): boolean {
  return miss.passed !== than.passed ? miss.passed > than.passed : miss.lack.share < than.lack.share;
}

function wordsOf({ host, lack }: Miss): string {
  return `${host.displayName} ${lack.words}`;
}

function best(fitting: Scored[], most: number): Scored[] {
  return fitting.sort((a, b) => b.score - a.score).slice(0, most);
}
