/** VMs, runs and sightings for the tests of the pure rules: one by one, and whatever there may be. */
import fc from 'fast-check';
import { projectVm, type Seen } from '../../src/domain/vm/project.ts';
import type { Incarnation, Link, Phase, Vm } from '../../src/domain/vm/vm.ts';

export const MiB = 1024 ** 2;
export const now = '2026-01-01T00:00:00.000Z';
export const phases = ['creating', 'live', 'failed', 'deleted', 'expunging'] as const;
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
export const causes = ['unspecified', 'requested', 'guest', 'crashed', 'host-shutdown', 'lost'] as const;

export function vmOf(change: Partial<Vm> = {}, spec: Partial<Vm['spec']> = {}): Vm {
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

export const anyRun = fc.option(
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
export const anySeen = fc.record({
  incarnation: anyRun,
  holder: fc.option(fc.record({ jobUid: fc.constant('j'), kind: fc.constantFrom(...kinds) }), {
    nil: undefined,
  }),
  link: fc.constantFrom<Link>('connecting', 'up', 'silent', 'disconnected'),
}) as fc.Arbitrary<Seen>;
export const anyVm = fc
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
