/** The pure rules of VMs: what is seen becomes one status, phases only go where they may, drift leads home. */
import { describe, expect, test } from '@jest/globals';
import { PowerPolicy, VmSpec as VmSpecMessage } from '@nephos/proto/nephos/orchestration/v1/vm';
import { type FieldViolation, isUid, newUid } from '@nephos/service';
import fc from 'fast-check';
import { bounds, type References, resolveSpec } from '../src/domain/vm/create.ts';
import { driftOf, pauseBefore } from '../src/domain/vm/drift.ts';
import { hostnameOf, isHostname } from '../src/domain/vm/hostname.ts';
import { systemJobUid } from '../src/domain/vm/job-uid.ts';
import { observed, requestedRun, type Sighting } from '../src/domain/vm/observe.ts';
import { checkAllowed, moveTo } from '../src/domain/vm/phase.ts';
import { projectVm, type Seen, sameStatus } from '../src/domain/vm/project.ts';
import type { Cause, Incarnation, Link, OperationKind, Phase, Vm } from '../src/domain/vm/vm.ts';
import { moveVolume, type Volume, type VolumeState } from '../src/domain/volume/volume.ts';

const MiB = 1024 ** 2;
const now = '2026-01-01T00:00:00.000Z';
const phases = ['creating', 'live', 'failed', 'deleted', 'expunging'] as const;
const kinds = [
  'vm.create',
  'vm.start',
  'vm.stop',
  'vm.reboot',
  'vm.delete',
  'vm.undelete',
  'vm.expunge',
  'vm.clean',
] as const;
const runStates = ['starting', 'running', 'paused', 'powered-off', 'gone', 'unknown'] as const;
const causes = ['unspecified', 'requested', 'guest', 'crashed', 'host-shutdown', 'lost'] as const;

function vmOf(change: Partial<Vm> = {}, spec: Partial<Vm['spec']> = {}): Vm {
  const base: Omit<Vm, 'status'> = {
    header: {
      uid: '0192f4c3-0000-7000-8000-000000000001',
      displayName: 'one',
      owner: 'o',
      zone: 'zones/z',
      labels: {},
      annotations: {},
      createTime: now,
      updateTime: now,
    },
    phase: 'live',
    spec: {
      computeOffering: '',
      vcpus: 1,
      memoryBytes: 64 * MiB,
      template: 'templates/t',
      rootVolumeBytes: MiB,
      hostname: 'one',
      desiredPower: 'on',
      powerPolicy: 'follow',
      host: '',
      ...spec,
    },
    image: { sha256: 'a', sizeBytes: 1, format: 'qcow2', architecture: 'x86_64' },
    rootVolumeUid: 'volume',
    createJob: 'job',
    hostUid: 'h',
    claimed: 'all',
    ...change,
  };
  return { ...base, status: projectVm(base, {}) };
}

const anyRun = fc.option(
  fc.record({
    vmUid: fc.constant('vm'),
    hostUid: fc.constant('h'),
    generation: fc.nat(5),
    state: fc.constantFrom(...runStates),
    cause: fc.constantFrom(...causes),
    message: fc.constantFrom('', 'last words'),
    streak: fc.nat(3),
  }),
  { nil: undefined },
) as fc.Arbitrary<Incarnation | undefined>;
const anySeen = fc.record({
  incarnation: anyRun,
  holder: fc.option(fc.record({ jobUid: fc.constant('j'), kind: fc.constantFrom(...kinds) }), {
    nil: undefined,
  }),
  link: fc.constantFrom<Link>('connecting', 'up', 'silent', 'disconnected'),
}) as fc.Arbitrary<Seen>;
const anyVm = fc
  .tuple(
    fc.constantFrom<Phase>(...phases),
    fc.constantFrom<Vm['spec']['desiredPower']>('on', 'off'),
    fc.constantFrom<Vm['spec']['powerPolicy']>('follow', 'enforce', 'alert'),
    fc.boolean(),
  )
  .map(([phase, desiredPower, powerPolicy, isPlaced]) => {
    const vm = vmOf({ phase }, { desiredPower, powerPolicy });
    if (isPlaced || phase === 'live') return vm;
    const { hostUid: _host, claimed: _claimed, ...rest } = vm;
    return rest;
  });

describe('projectVm', () => {
  test('only proof makes it stopped; a host that is away makes it unknown', () => {
    fc.assert(
      fc.property(anyVm, anySeen, (vm, seen) => {
        const { state } = projectVm(vm, seen);
        const run = seen.incarnation;
        const ended = run === undefined || run.state === 'gone' || run.state === 'powered-off';
        if (state === 'stopped') expect(ended).toBe(true);
        if (state === 'running') expect(['running', 'paused']).toContain(run?.state);
        if (vm.phase === 'live' && !ended && seen.link === 'disconnected') expect(state).toBe('unknown');
        if (vm.phase === 'failed' || vm.phase === 'deleted' || vm.phase === 'expunging')
          expect(state).toBe(vm.phase);
      }),
    );
  });

  test('a reason is given exactly where it is neither as intended nor on its way there', () => {
    fc.assert(
      fc.property(anyVm, anySeen, (vm, seen) => {
        const { state, reason, message } = projectVm(vm, seen);
        expect(reason === '').toBe(message === '');
        if (vm.phase !== 'live' || seen.holder) return;
        const intended = vm.spec.desiredPower === 'on' ? state === 'running' : state === 'stopped';
        if (!intended && state !== 'starting') expect(reason).not.toBe('');
      }),
    );
  });

  test('the operation that holds it is shown, and the same facts give the same status', () => {
    fc.assert(
      fc.property(anyVm, anySeen, (vm, seen) => {
        const status = projectVm(vm, seen);
        expect(status.operation).toBe(seen.holder ? 'operations/j' : '');
        expect(sameStatus(status, projectVm(Object.assign({}, vm, { status }), seen))).toBe(true);
      }),
    );
  });
});

describe('phases', () => {
  test('no sequence of moves leaves expunging, and a VM that was deleted is live only by recovery', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom<Phase>(...phases), { maxLength: 20 }), (moves) => {
        let vm = vmOf({ phase: 'creating' });
        for (const move of moves) {
          const before = vm.phase;
          try {
            vm = moveTo(vm, move);
          } catch (error) {
            expect(error).toMatchObject({ kind: 'precondition', reason: 'STATE_FORBIDS' });
            continue;
          }
          if (before === 'expunging') expect(vm.phase).toBe('expunging');
          if (before !== 'creating') expect(vm.phase).not.toBe('creating');
          if (before === 'failed') expect(vm.phase).not.toBe('live');
        }
      }),
    );
  });

  test.each<[OperationKind, Phase, boolean]>([
    ['vm.start', 'live', true],
    ['vm.start', 'failed', false],
    ['vm.delete', 'failed', true],
    ['vm.delete', 'deleted', false],
    ['vm.undelete', 'deleted', true],
    ['vm.undelete', 'live', false],
    ['vm.expunge', 'live', true],
    ['vm.expunge', 'deleted', true],
    ['vm.create', 'live', false],
  ])('%s of a VM that is %s: %s', (kind, phase, fine) => {
    const check = (): void => checkAllowed(kind, vmOf({ phase }));
    if (fine) expect(check).not.toThrow();
    else expect(check).toThrow(expect.objectContaining({ reason: 'STATE_FORBIDS' }));
  });

  test('a VM that never was whole cannot be recovered, one that does not run not be rebooted', () => {
    const failure = { reason: 'NO_HOST_FITS', message: 'none' };
    expect(() => checkAllowed('vm.undelete', vmOf({ phase: 'deleted', failure }))).toThrow('never whole');
    expect(() => checkAllowed('vm.reboot', vmOf())).toThrow('has to run');
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

describe('observations', () => {
  const anySighting = fc.record({
    state: fc.constantFrom<Sighting['state']>('running', 'paused', 'powered-off', 'gone', 'unknown'),
    cause: fc.constantFrom<Cause>(...causes),
    message: fc.constantFrom('', 'words'),
  });

  test('a report twice is no news, gone takes it off its host, and its first boot stays its boot', () => {
    fc.assert(
      fc.property(fc.array(anySighting, { maxLength: 10 }), (sightings) => {
        let run = requestedRun('vm', 'h', 1, 0);
        let boot: string | undefined;
        sightings.forEach((seen, index) => {
          run = observed(run, seen, `t${index}`) ?? run;
          if (seen.state === 'running') boot ??= `t${index}`;
          expect(observed(run, seen, 'later')).toBeUndefined();
          expect(run.state).toBe(seen.state);
          expect(run.aliveOn).toBe(seen.state === 'gone' ? undefined : 'h');
          expect(run.bootTime).toBe(boot);
        });
      }),
    );
  });

  test('a guest that powered itself off did so even after its process was cleared away', () => {
    const run = requestedRun('vm', 'h', 1, 0);
    const off = observed(run, { state: 'powered-off', cause: 'guest', message: '' }, now) as Incarnation;
    const gone = observed(off, { state: 'gone', cause: 'requested', message: '' }, now);
    expect(gone).toMatchObject({ state: 'gone', cause: 'guest' });
  });
});

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

test('a system job has one uid a VM and generation, in every process', () => {
  const vm = newUid();
  const uids = [1, 2, 3].map((generation) => systemJobUid(vm, generation));
  expect(uids.every(isUid)).toBe(true);
  expect(new Set(uids).size).toBe(3);
  expect(systemJobUid(vm, 2)).toBe(uids[1]);
  expect(systemJobUid(newUid(), 2)).not.toBe(uids[1]);
});

test('a volume ends expunged, and from there goes nowhere', () => {
  const states: VolumeState[] = [
    'allocated',
    'creating',
    'ready',
    'faulted',
    'trashed',
    'expunging',
    'expunged',
  ];
  const volume = { header: vmOf().header, state: 'allocated' } as Volume;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...states), { maxLength: 20 }), (moves) => {
      let current = volume;
      for (const move of moves) {
        const before = current.state;
        try {
          current = moveVolume(current, move);
        } catch (error) {
          expect(error).toMatchObject({ reason: 'STATE_FORBIDS' });
        }
        if (before === 'expunged') expect(current.state).toBe('expunged');
        if (before === 'expunging') expect(['expunging', 'expunged']).toContain(current.state);
      }
    }),
  );
});
