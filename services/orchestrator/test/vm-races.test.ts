/** Two that mean the same VM: what was judged before the VM was held is judged again once it is. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Power, VmStatus_State as State, type Vm } from '@nephos/proto/nephos/orchestration/v1/vm';
import { Volume_State as VolumeState } from '@nephos/proto/nephos/orchestration/v1/volume';
import { MachineSpec } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type Clock, newUid, offsetClock, Precondition, systemClock } from '@nephos/service';
import { checkAllowed } from '../src/domain/vm/phase.ts';
import { type Ground, MiB, openGround, openWorld, type World } from './support/world.ts';

let movedMs = 0;
let ground: Ground;
let world: World;
beforeEach(async () => {
  movedMs = 0;
  const now = () => new Date(systemClock.now().getTime() + movedMs);
  const clock: Clock = { ...offsetClock(systemClock, 0), now };
  ground = await openGround();
  world = await openWorld(ground, { clock });
});
afterEach(async () => {
  await world[Symbol.asyncDispose]();
  await ground[Symbol.asyncDispose]();
});

const nameOf = (vm: Vm): string => vm.header?.name ?? '';
const uidOf = (vm: Vm): string => vm.header?.uid ?? '';
const get = (vm: Vm): Promise<Vm> => world.vms.getVm({ name: nameOf(vm) });

async function create(spec: object = {}): Promise<Vm> {
  const header = { displayName: newUid(), owner: 'ann', zone: ground.zone };
  const size = { template: ground.template.header?.name ?? '', vcpus: 1, memoryBytes: BigInt(64 * MiB) };
  await world.vms.createVm({ vm: { header, spec: { ...size, ...spec } } });
  await world.jobs.idle();
  const { vms } = await world.vms.listVms({ filter: `display_name = "${header.displayName}"` });
  return vms[0] as Vm;
}

/** Whoever takes the next lease is held up until `first` was done from beginning to end. */
function before(first: () => Promise<unknown>): void {
  const { leases } = world.deps;
  const acquire = leases.acquire.bind(leases);
  leases.acquire = async (request) => {
    leases.acquire = acquire;
    await first();
    await world.jobs.idle();
    return await acquire(request);
  };
}

describe('an operation that another one went before', () => {
  test('a VM recovered while the reconciler set out to purge it is not expunged', async () => {
    const vm = await create();
    await world.vms.deleteVm({ name: nameOf(vm) });
    await world.jobs.idle();
    movedMs = 61_000;
    before(() => world.vms.undeleteVm({ name: nameOf(vm) }));
    await world.reconciler.consider(uidOf(vm));
    await world.jobs.idle();
    expect((await get(vm)).status).toMatchObject({ state: State.STOPPED, operation: '' });
    expect(await ground.agent.volumes()).toHaveLength(1);
    expect((await world.volumes.listVolumes({})).volumes).toMatchObject([{ state: VolumeState.READY }]);
  });

  test('a VM stopped by its user while the reconciler set out to start it stays stopped', async () => {
    const vm = await create();
    await ground.agent.hypervisor.happen(ground.agent.host, uidOf(vm), 'crash');
    const seen = await ground.agent.observation(uidOf(vm));
    await world.links.tell({ hostUid: ground.hostUid, machines: [seen], complete: false });
    before(() => world.vms.stopVm({ name: nameOf(vm) }));
    await world.reconciler.consider(uidOf(vm));
    await world.jobs.idle();
    expect(await get(vm)).toMatchObject({
      status: { state: State.STOPPED, operation: '' },
      spec: { desiredPower: Power.OFF },
    });
    expect(await ground.agent.running()).toEqual([]);
  });

  test('a VM deleted while somebody asked to start it does not run', async () => {
    const vm = await create({ desiredPower: Power.OFF });
    before(() => world.vms.deleteVm({ name: nameOf(vm) }));
    await world.vms.startVm({ name: nameOf(vm) });
    await world.jobs.idle();
    expect((await get(vm)).status).toMatchObject({ state: State.DELETED, operation: '' });
    expect(await ground.agent.running()).toEqual([]);
  });

  test('a deleted VM that was whole is never cleaned away', async () => {
    const vm = await create();
    await world.vms.deleteVm({ name: nameOf(vm) });
    await world.jobs.idle();
    const { header, ...rest } = (await world.deps.projector.get(uidOf(vm))).value;
    expect(rest.phase).toBe('deleted');
    expect(() => checkAllowed('vm.clean', { header, ...rest })).toThrow(Precondition);
  });
});

test('a delete that is refused at its last write leaves no volume of a living VM in the trash', async () => {
  const vm = await create();
  const { projector, volumes } = world.deps;
  const change = projector.change.bind(projector);
  projector.change = async (...asked) => {
    const [volume] = (await volumes.find({ limit: 1 })).items;
    if (volume?.value.state !== 'trashed') return await change(...asked);
    projector.change = change;
    throw new Precondition('STATE_FORBIDS', 'no');
  };
  await world.vms.deleteVm({ name: nameOf(vm) });
  await world.jobs.idle();
  expect((await get(vm)).status?.state).toBe(State.STOPPED);
  expect((await world.volumes.listVolumes({})).volumes).toMatchObject([{ state: VolumeState.READY }]);
});

describe('an executor that lost its job and is late', () => {
  const template = { sizeBytes: BigInt(50 * MiB), templateSha256: 'ab'.repeat(32) };

  /** A create that failed for good before this step did anything. */
  async function failedAt(step: string): Promise<Vm> {
    world.jobs.fail = (job, name) =>
      job === 'vm.create' && name === step ? new Precondition('INTERNAL', `at ${step}`) : undefined;
    const vm = await create();
    expect(vm.status?.state).toBe(State.FAILED);
    return vm;
  }

  test('makes no disk once the create was undone, though none had been made before', async () => {
    const vm = await failedAt('disk');
    const volumeUid = (await world.deps.projector.get(uidOf(vm))).value.rootVolumeUid;
    const { client, host } = await world.links.storage();
    const fence = { entityUid: volumeUid, generation: 1n, epoch: 1n, sequence: 1n };
    await expect(client.createVolume({ fence, host, volumeUid, ...template })).rejects.toMatchObject({
      reason: 'FENCED',
    });
    expect(await ground.agent.volumes()).toEqual([]);
  });

  test('starts no machine once the create was undone, though none had been started before', async () => {
    const vm = await failedAt('start');
    const { client, host } = await world.links.hypervisor();
    const fence = { entityUid: uidOf(vm), generation: 1n, epoch: 1n, sequence: 3n };
    const machine = {
      vmUid: uidOf(vm),
      incarnationUid: newUid(),
      generation: 1n,
      hostname: 'late',
      vcpus: 1,
      memoryBytes: BigInt(64 * MiB),
      disks: [{ volumeUid: newUid(), readOnly: false }],
    };
    await expect(client.startMachine({ fence, host, machine })).rejects.toMatchObject({ reason: 'FENCED' });
    expect(await ground.agent.running()).toEqual([]);
  });
});

describe('a run that the records take for gone, and that runs after all', () => {
  /** The host shows an earlier run than the one on record. */
  async function withEarlierRun(): Promise<Vm> {
    const vm = await create();
    const seen = await ground.agent.observation(uidOf(vm));
    const { hypervisor, host } = ground.agent;
    await hypervisor.happen(host, uidOf(vm), 'crash');
    const earlier = { vmUid: uidOf(vm), incarnationUid: newUid(), generation: seen.generation };
    await hypervisor.start(host, MachineSpec.fromPartial(earlier));
    return vm;
  }

  test('is stopped when the VM is stopped', async () => {
    const vm = await withEarlierRun();
    await world.vms.stopVm({ name: nameOf(vm), force: true });
    await world.jobs.idle();
    expect((await get(vm)).status?.state).toBe(State.STOPPED);
    expect(await ground.agent.running()).toEqual([]);
  });

  test('does not keep the VM from being expunged', async () => {
    const vm = await withEarlierRun();
    const { incarnations } = world.deps;
    const { incarnationUid } = (await get(vm)).status ?? {};
    await incarnations.saw(incarnationUid ?? '', { state: 'gone', cause: 'lost', message: '' });
    await world.vms.expungeVm({ name: nameOf(vm) });
    await world.jobs.idle();
    await expect(get(vm)).rejects.toMatchObject({ kind: 'not-found' });
    expect(await ground.agent.machines()).toEqual([]);
  });
});
