/** The planner: feasible hosts only, the whole fleet behind every refusal, and reasons that add up. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { HostView, PlanRequest } from '../src/domain/planner/host-view.ts';
import { planDeployment } from '../src/domain/planner/plan.ts';

const GiB = 1024 ** 3;
const room = { vcpus: 8, memoryBytes: 16 * GiB, diskBytes: 100 * GiB };

function host(uid: string, change: Partial<HostView> = {}): HostView {
  return {
    uid,
    displayName: uid,
    zone: 'z1',
    architecture: 'x86_64',
    link: 'up',
    admin: 'enabled',
    health: 'healthy',
    total: room,
    free: room,
    ...change,
  };
}

function request(change: Partial<PlanRequest> = {}): PlanRequest {
  return {
    vmUid: 'vm',
    zone: 'z1',
    needs: { vcpus: 1, memoryBytes: GiB, diskBytes: GiB },
    architecture: '',
    excludedHosts: new Set(),
    maxCandidates: 3,
    ...change,
  };
}

const amounts = fc.record({
  vcpus: fc.integer({ min: 0, max: 16 }),
  memoryBytes: fc.integer({ min: 0, max: 32 * GiB }),
  diskBytes: fc.integer({ min: 0, max: 100 * GiB }),
});
const anyHost = fc
  .record({
    zone: fc.constantFrom('z1', 'z2'),
    link: fc.constantFrom('connecting', 'up', 'silent', 'disconnected'),
    admin: fc.constantFrom('enabled', 'cordoned', 'maintenance'),
    health: fc.constantFrom('healthy', 'suspect', 'fenced'),
    free: amounts,
  })
  .map((change) => change as Partial<HostView>);

function fits(view: HostView, { zone, needs }: PlanRequest): boolean {
  return (
    view.zone === zone &&
    view.link === 'up' &&
    view.admin === 'enabled' &&
    view.health === 'healthy' &&
    view.free.vcpus >= needs.vcpus &&
    view.free.memoryBytes >= needs.memoryBytes &&
    view.free.diskBytes >= needs.diskBytes
  );
}

describe('planDeployment', () => {
  test('proposes only hosts that fit, and some whenever one does', () => {
    fc.assert(
      fc.property(
        fc.array(anyHost, { maxLength: 200 }),
        amounts,
        fc.infiniteStream(fc.double({ min: 0, max: 0.999999, noNaN: true })),
        (changes, needs, stream) => {
          const hosts = changes.map((change, index) => host(`h${index}`, change));
          const asked = request({ needs });
          const plan = planDeployment(hosts, asked, () => stream.next().value as number);
          const fitting = new Set(hosts.filter((view) => fits(view, asked)).map(({ uid }) => uid));
          expect(plan.candidates.length).toBe(Math.min(3, fitting.size));
          for (const { hostUid } of plan.candidates) expect(fitting.has(hostUid)).toBe(true);
          expect(new Set(plan.candidates.map(({ hostUid }) => hostUid)).size).toBe(plan.candidates.length);
        },
      ),
    );
  });

  test('a refusal counts every host once and names the nearest miss', () => {
    const hosts = [
      host('a', { zone: 'z2' }),
      host('b', { admin: 'cordoned' }),
      host('c', { free: { ...room, memoryBytes: GiB / 4 } }),
      host('d', { free: { ...room, memoryBytes: GiB / 2 } }),
      host('e', { link: 'silent' }),
    ];
    const plan = planDeployment(hosts, request(), () => 0.5);
    expect(plan.candidates).toEqual([]);
    expect(plan.rejections).toEqual([
      { reason: 'memory', hosts: 2 },
      { reason: 'admin', hosts: 1 },
      { reason: 'link', hosts: 1 },
      { reason: 'zone', hosts: 1 },
    ]);
    expect(plan.closestMiss).toBe('d lacks 512 MiB of memory');
  });

  test('spreads: the emptier host comes first', () => {
    const half = { vcpus: 4, memoryBytes: 8 * GiB, diskBytes: 50 * GiB };
    const plan = planDeployment([host('full', { free: half }), host('empty')], request(), () => 0);
    expect(plan.candidates.map(({ hostUid }) => hostUid)).toEqual(['empty', 'full']);
  });

  test('the host asked for is the only answer, whatever the fleet', () => {
    const hosts = Array.from({ length: 500 }, (_, index) => host(`h${index}`));
    const plan = planDeployment(hosts, request({ onlyHost: 'h321' }), () => 0.9);
    expect(plan.candidates.map(({ hostUid }) => hostUid)).toEqual(['h321']);
  });
});
