/** What is meant for a VM: a request becomes a spec or all its faults, and drift from it leads home. */
import { describe, expect, test } from '@jest/globals';
import { PowerPolicy, VmSpec as VmSpecMessage } from '@nephos/proto/nephos/orchestration/v1/vm';
import { type FieldViolation, isUid, newUid } from '@nephos/service';
import fc from 'fast-check';
import { bounds, type References, resolveSpec } from '../src/domain/vm/create.ts';
import { driftOf, pauseBefore } from '../src/domain/vm/drift.ts';
import { hostnameOf, isHostname } from '../src/domain/vm/hostname.ts';
import { systemJobUid } from '../src/domain/vm/job-uid.ts';
import { requestedRun } from '../src/domain/vm/observe.ts';
import { moveTo } from '../src/domain/vm/phase.ts';
import type { Cause, Incarnation, Link, OperationKind, Vm } from '../src/domain/vm/vm.ts';
import { anyRun, anyVm, MiB, now, vmOf } from './support/vm-values.ts';

describe('resolveSpec', () => {
  const refs: References = {
    zone: true,
    offering: { vcpus: 2, memoryBytes: 128 * MiB },
    template: { virtualSizeBytes: 50 * MiB },
    host: { zone: 'zones/z' },
  };
  const input = (spec: Partial<VmSpecMessage>) => ({
    uid: newUid(),
    displayName: 'My VM',
    zone: 'zones/z',
    spec: VmSpecMessage.fromPartial({
      template: 'templates/t',
      vcpus: 1,
      memoryBytes: BigInt(64 * MiB),
      ...spec,
    }),
  });

  test('an offering gives the size, the template the disk, the display name the hostname', () => {
    expect(
      resolveSpec(input({ computeOffering: 'computeOfferings/c', vcpus: 0, memoryBytes: 0n }), refs),
    ).toMatchObject({
      vcpus: 2,
      memoryBytes: 128 * MiB,
      rootVolumeBytes: 50 * MiB,
      hostname: 'my-vm',
      desiredPower: 'on',
      powerPolicy: 'follow',
    });
  });

  test('everything that is wrong is said at once', () => {
    const nothing: References = { zone: false, offering: undefined, template: undefined, host: undefined };
    const wrong = resolveSpec(
      input({ vcpus: 0, memoryBytes: 1n, hostname: '-x', host: 'hosts/h', rootVolumeSizeBytes: -1n }),
      nothing,
    );
    expect((wrong as readonly FieldViolation[]).map(({ field }) => field).sort()).toEqual([
      'vm.header.zone',
      'vm.spec.host',
      'vm.spec.hostname',
      'vm.spec.memory_bytes',
      'vm.spec.root_volume_size_bytes',
      'vm.spec.template',
      'vm.spec.vcpus',
    ]);
  });

  test('whatever passes is within bounds', () => {
    const anySpec = fc.record({
      vcpus: fc.integer({ min: -1, max: 300 }),
      memoryBytes: fc.bigInt({ min: -1n, max: 2n ** 45n }),
      rootVolumeSizeBytes: fc.bigInt({ min: -1n, max: 2n ** 47n }),
      powerPolicy: fc.constantFrom(PowerPolicy.UNSPECIFIED, PowerPolicy.ALERT, PowerPolicy.UNRECOGNIZED),
    });
    fc.assert(
      fc.property(anySpec, (spec) => {
        const resolved = resolveSpec(input(spec), refs);
        if (!('vcpus' in resolved)) return expect(resolved.length).toBeGreaterThan(0);
        expect(resolved.vcpus).toBeGreaterThanOrEqual(bounds.vcpus.min);
        expect(resolved.vcpus).toBeLessThanOrEqual(bounds.vcpus.max);
        expect(resolved.memoryBytes % MiB).toBe(0);
        expect(resolved.rootVolumeBytes).toBeGreaterThanOrEqual(50 * MiB);
      }),
    );
  });

  test('any display name gives a hostname', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) =>
        expect(isHostname(hostnameOf(name, newUid()))).toBe(true),
      ),
    );
    expect(hostnameOf('Zürich Büro', newUid())).toBe('zurich-buro');
  });
});

describe('drift', () => {
  /** What an operation that succeeds leaves behind. */
  function after(vm: Vm, run: Incarnation | undefined, operation: OperationKind) {
    const next = (state: Incarnation['state'], cause: Cause): Incarnation => ({
      ...(run ?? requestedRun('vm', 'h', 1, 0)),
      state,
      cause,
    });
    switch (operation) {
      case 'vm.create':
        return { vm: moveTo({ ...vm, hostUid: 'h', claimed: 'all' as const }, 'live'), run };
      case 'vm.start':
        return { vm: { ...vm, claimed: 'all' as const }, run: next('running', 'requested') };
      case 'vm.stop':
        return { vm: { ...vm, claimed: 'disk' as const }, run: run && next('gone', 'requested') };
      case 'vm.clean': {
        const { hostUid: _host, claimed: _claimed, ...rest } = vm;
        return { vm: rest, run: undefined };
      }
      default:
        return undefined;
    }
  }

  test('from any state, with its host up, a few operations lead to where nothing is left to do', () => {
    fc.assert(
      fc.property(anyVm, anyRun, (start, startRun) => {
        let world: { vm: Vm; run: Incarnation | undefined } = { vm: start, run: startRun };
        for (let step = 0; step < 6; step += 1) {
          const drift = driftOf(world.vm, { incarnation: world.run, link: 'up', now });
          if (!drift) return;
          if (drift.kind === 'follow-power-off') {
            world = { ...world, vm: { ...world.vm, spec: { ...world.vm.spec, desiredPower: 'off' } } };
            continue;
          }
          const left = after(world.vm, world.run, drift.operation);
          if (!left) return;
          world = left;
        }
        throw new Error(`no rest: ${JSON.stringify(world)}`);
      }),
      { numRuns: 2000 },
    );
  });

  test.each<[Cause, Vm['spec']['powerPolicy'], string]>([
    ['guest', 'follow', 'follow-power-off'],
    ['guest', 'enforce', 'vm.start'],
    ['guest', 'alert', 'nothing'],
    ['crashed', 'follow', 'vm.start'],
    ['crashed', 'alert', 'nothing'],
    ['host-shutdown', 'follow', 'vm.start'],
    ['lost', 'follow', 'vm.start'],
    ['requested', 'alert', 'vm.start'],
  ])('it should run and ended (%s) under policy %s: %s', (cause, powerPolicy, expected) => {
    const run: Incarnation = { ...requestedRun('vm', 'h', 1, 0), state: 'gone', cause };
    const drift = driftOf(vmOf({}, { powerPolicy }), { incarnation: run, link: 'up', now });
    expect(drift === undefined ? 'nothing' : drift.kind === 'submit' ? drift.operation : drift.kind).toBe(
      expected,
    );
  });

  test('nothing is done while its host is away, nor about what cannot be told', () => {
    fc.assert(
      fc.property(
        anyRun,
        fc.constantFrom<Link>('connecting', 'silent', 'disconnected'),
        (incarnation, link) => {
          expect(driftOf(vmOf(), { incarnation, link, now })).toBeUndefined();
        },
      ),
    );
    const unknown: Incarnation = { ...requestedRun('vm', 'h', 1, 0), state: 'unknown' };
    expect(driftOf(vmOf(), { incarnation: unknown, link: 'up', now })).toBeUndefined();
  });

  test('a VM that keeps ending by itself is started with growing pauses; one whose host went down is not', () => {
    const crashed: Incarnation = { ...requestedRun('vm', 'h', 1, 3), state: 'gone', cause: 'crashed' };
    expect(driftOf(vmOf(), { incarnation: crashed, link: 'up', now })).toMatchObject({ streak: 4 });
    const lost: Incarnation = { ...crashed, cause: 'lost' };
    expect(driftOf(vmOf(), { incarnation: lost, link: 'up', now })).toMatchObject({ streak: 0 });
    expect([0, 1, 2, 3, 4, 50].map(pauseBefore)).toEqual([0, 0, 1000, 2000, 4000, 300_000]);
  });

  test('a deleted VM is expunged at its purge time', () => {
    const header = { ...vmOf().header, purgeTime: now };
    const deleted = vmOf({ phase: 'deleted', header });
    expect(driftOf(deleted, { now, link: 'up' })).toMatchObject({ operation: 'vm.expunge' });
    expect(driftOf(deleted, { now: '2025-12-31T00:00:00.000Z', link: 'up' })).toBeUndefined();
  });
});

test('a system job has one uid a VM and generation, in every process', () => {
  const vm = newUid();
  const uids = [1, 2, 3].map((generation) => systemJobUid(vm, generation));
  expect(uids.every(isUid)).toBe(true);
  expect(new Set(uids).size).toBe(3);
  expect(systemJobUid(vm, 2)).toBe(uids[1]);
  expect(systemJobUid(newUid(), 2)).not.toBe(uids[1]);
});
