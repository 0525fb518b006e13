/** Reality and intent: what agents see becomes fact, what drifts is brought home, what is not ours is only told. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  Power,
  PowerPolicy,
  VmStatus_State as State,
  type Vm,
} from '@nephos/proto/nephos/orchestration/v1/vm';
import { MachineSpec, MachineObservation_State as Seen } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type Clock, newUid, systemClock } from '@nephos/service';
import { type Ground, MiB, openGround, openWorld, type World } from './support/world.ts';

/** A clock whose monotonic and wall time a test moves on. */
class MovedClock implements Clock {
  movedMs = 0;
  now = () => new Date(systemClock.now().getTime() + this.movedMs);
  monotonic = () => systemClock.monotonic() + this.movedMs;
  sleep: Clock['sleep'] = (ms, signal) => systemClock.sleep(ms, signal);
  timer: Clock['timer'] = (ms, fire) => systemClock.timer(ms, fire);
  every: Clock['every'] = (ms, fire) => systemClock.every(ms, fire);
}

let clock: MovedClock;
let ground: Ground;
let world: World;
beforeEach(async () => {
  clock = new MovedClock();
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

/** The agent tells what it sees of the VM's machine. */
async function tell(vm: Vm): Promise<void> {
  const seen = await ground.agent.observation(uidOf(vm));
  await world.links.tell({ hostUid: ground.hostUid, machines: [seen], complete: false });
}

/** The agent tells of all machines that there are. */
async function tellAll(): Promise<void> {
  const { hypervisor, host } = ground.agent;
  const machines = await hypervisor.list(host);
  await world.links.tell({ hostUid: ground.hostUid, machines: [...machines], complete: true });
}

/** A machine and all that its host knew of it are gone, as after the loss of a disk. */
async function lose(vm: Vm): Promise<void> {
  const { hypervisor, host } = ground.agent;
  await hypervisor.happen(host, uidOf(vm), 'crash');
  await hypervisor.remove(host, uidOf(vm));
}

/** What can happen to a machine that nobody asked for, each told by the agent. */
const happens = {
  'guest-power-off': (vm: Vm) => itself(vm, 'guest-power-off'),
  crash: (vm: Vm) => itself(vm, 'crash'),
  'host-shutdown': async (vm: Vm) => {
    await ground.agent.hypervisor.shutDownGuests();
    await tell(vm);
  },
  loss: async (vm: Vm) => {
    await lose(vm);
    await tellAll();
  },
} as const;

async function itself(vm: Vm, what: 'guest-power-off' | 'crash'): Promise<void> {
  await ground.agent.hypervisor.happen(ground.agent.host, uidOf(vm), what);
  await tell(vm);
}

/** The reconciler looks, and what it starts comes to its end. */
async function settle(): Promise<void> {
  for (let pass = 0; pass < 3; pass += 1) {
    await world.reconciler.pass();
    await world.leftovers.sweep();
    await world.jobs.idle();
  }
}

/** The sweeper leaves a lease alone until it has seen it for a while. */
async function sweepTwice(): Promise<void> {
  await world.sweeper.sweep();
  clock.movedMs += 11_000;
  await world.sweeper.sweep();
}

describe('a VM that ends by itself', () => {
  test('a guest that powers itself off stays off, and gives its room back', async () => {
    const vm = await create();
    await happens['guest-power-off'](vm);
    expect((await get(vm)).status).toMatchObject({ state: State.STOPPED, reason: 'GUEST_SHUTDOWN' });
    await settle();
    const after = await get(vm);
    expect(after).toMatchObject({
      spec: { desiredPower: Power.OFF },
      status: { state: State.STOPPED, generation: 1n },
    });
    expect(await world.claims()).toMatchObject([{ vcpus: 0, memoryBytes: 0 }]);
    expect(await ground.agent.observation(uidOf(vm))).toMatchObject({ state: Seen.GONE, managed: true });
  });

  test('a crash is started again, a second one after a pause that grows', async () => {
    const vm = await create();
    await happens.crash(vm);
    expect((await get(vm)).status).toMatchObject({
      reason: 'CRASHED',
      message: expect.stringContaining('simulated'),
    });
    await settle();
    expect((await get(vm)).status).toMatchObject({ state: State.RUNNING, generation: 2n });
    await happens.crash(vm);
    await settle();
    expect((await get(vm)).status).toMatchObject({ state: State.STOPPED, generation: 2n });
    clock.movedMs += 2_000;
    await settle();
    expect((await get(vm)).status).toMatchObject({ state: State.RUNNING, generation: 3n });
  });

  test.each([
    [PowerPolicy.ENFORCE, 'guest-power-off', State.RUNNING],
    [PowerPolicy.ALERT, 'guest-power-off', State.STOPPED],
    [PowerPolicy.ALERT, 'crash', State.STOPPED],
    [PowerPolicy.FOLLOW, 'host-shutdown', State.RUNNING],
    [PowerPolicy.FOLLOW, 'loss', State.RUNNING],
  ] as const)(
    'policy %s, after a %s: it ends in state %s, its desired power kept',
    async (powerPolicy, what, state) => {
      const vm = await create({ powerPolicy });
      await happens[what](vm);
      await settle();
      expect(await get(vm)).toMatchObject({ status: { state }, spec: { desiredPower: Power.ON } });
    },
  );
});

describe('a host that is away', () => {
  test('makes its VMs unknown and starts none of them elsewhere or anew; back, what ran still runs', async () => {
    const vm = await create();
    await world.links.setLink(ground.hostUid, 'silent');
    expect((await get(vm)).status?.state).toBe(State.RUNNING);
    await world.links.setLink(ground.hostUid, 'disconnected');
    expect((await get(vm)).status).toMatchObject({ state: State.UNKNOWN, reason: 'HOST_DISCONNECTED' });
    await settle();
    await world.vms.startVm({ name: nameOf(vm) });
    await world.jobs.idle();
    expect((await get(vm)).status?.state).toBe(State.UNKNOWN);
    await world.links.setLink(ground.hostUid, 'up');
    expect((await get(vm)).status).toMatchObject({ state: State.RUNNING, generation: 1n });
    expect(ground.agent.calls.filter((call) => call === 'start')).toHaveLength(1);
  });

  test('a whole picture without the machine is proof, once the agent says so by name', async () => {
    const [gone, there] = [await create(), await create()];
    await lose(gone);
    await world.links.tell({ hostUid: ground.hostUid, machines: [], complete: true });
    expect((await get(there)).status?.state).toBe(State.RUNNING);
    expect((await get(gone)).status).toMatchObject({ state: State.STOPPED, reason: 'LOST' });
    await settle();
    expect((await get(gone)).status).toMatchObject({ state: State.RUNNING, generation: 2n });
  });
});

describe('machines that should not be there', () => {
  test('one that nobody here started is told, never touched', async () => {
    const stranger = {
      ...(await ground.agent.observation(newUid())),
      state: Seen.RUNNING,
      message: 'by hand',
    };
    await world.links.tell({ hostUid: ground.hostUid, machines: [stranger], complete: true });
    await settle();
    expect(world.reported.at(-1)).toEqual([{ uid: stranger.vmUid, message: 'by hand' }]);
    expect(ground.agent.calls.filter((call) => call !== 'get')).toEqual([]);
    await world.links.tell({ hostUid: ground.hostUid, machines: [], complete: true });
    expect(world.reported.at(-1)).toEqual([]);
  });

  test('one of an expunged VM is removed: the lease record is the proof that it was ours', async () => {
    const vm = await create();
    const { incarnationUid, generation } = await ground.agent.observation(uidOf(vm));
    await world.vms.expungeVm({ name: nameOf(vm) });
    await world.jobs.idle();
    // A start that fences let through long ago, and that only now takes effect.
    const late = MachineSpec.fromPartial({ vmUid: uidOf(vm), incarnationUid, generation });
    await ground.agent.hypervisor.start(ground.agent.host, late);
    expect(await ground.agent.running()).toEqual([uidOf(vm)]);
    await tell(vm);
    await settle();
    expect(await ground.agent.machines()).toEqual([]);
  });

  test('one that says it is managed, and of which no record is left, is told and not touched', async () => {
    const seen = {
      ...(await ground.agent.observation(newUid())),
      state: Seen.RUNNING,
      managed: true,
      incarnationUid: newUid(),
    };
    await world.links.tell({ hostUid: ground.hostUid, machines: [seen], complete: true });
    await settle();
    expect(world.reported.at(-1)).toMatchObject([{ uid: seen.vmUid }]);
    expect(ground.agent.calls).not.toContain('stop');
  });
});

describe('nothing stays stuck', () => {
  test('a deleted VM is expunged at its purge time', async () => {
    const vm = await create();
    await world.vms.deleteVm({ name: nameOf(vm) });
    await world.jobs.idle();
    await settle();
    expect((await get(vm)).status?.state).toBe(State.DELETED);
    clock.movedMs += 61_000;
    await settle();
    await expect(get(vm)).rejects.toMatchObject({ kind: 'not-found' });
    expect(await ground.agent.volumes()).toEqual([]);
  });

  test('a create that was accepted and never submitted is taken up', async () => {
    world.jobs.available = false;
    const header = { displayName: 'one', owner: 'ann', zone: ground.zone };
    const spec = { template: ground.template.header?.name ?? '', vcpus: 1, memoryBytes: BigInt(64 * MiB) };
    await expect(world.vms.createVm({ vm: { header, spec } }, { deadlineMs: 500 })).rejects.toBeDefined();
    world.jobs.available = true;
    await sweepTwice();
    await world.jobs.idle();
    expect((await world.vms.listVms({})).vms[0]?.status).toMatchObject({
      state: State.RUNNING,
      operation: '',
    });
  });

  test('a lease of a job that is over is taken back', async () => {
    const vm = await create();
    const [stored] = (await world.records.vms.find({ limit: 1 })).items;
    if (!stored) throw new Error('no VM');
    const holder = {
      jobUid: stored.value.createJob,
      kind: 'vm.create',
      since: '',
      input: { vmUid: uidOf(vm) },
    } as const;
    await world.records.operations.modify(uidOf(vm), ({ value }) => ({ value: { ...value, holder } }));
    await world.reconciler.pass();
    expect((await get(vm)).status?.operation).not.toBe('');
    await sweepTwice();
    expect((await get(vm)).status?.operation).toBe('');
  });

  test('a create that was cancelled before it began is failed, and can be expunged', async () => {
    world.jobs.queueing = true;
    const header = { displayName: 'one', owner: 'ann', zone: ground.zone };
    const spec = { template: ground.template.header?.name ?? '', vcpus: 1, memoryBytes: BigInt(64 * MiB) };
    const { name } = await world.vms.createVm({ vm: { header, spec } });
    await world.jobs.cancel(name.slice('operations/'.length));
    world.jobs.queueing = false;
    await sweepTwice();
    const [vm] = (await world.vms.listVms({})).vms;
    expect(vm?.status).toMatchObject({ state: State.FAILED, reason: 'JOB_CANCELLED', operation: '' });
    await world.vms.expungeVm({ name: vm?.header?.name ?? '' });
    await world.jobs.idle();
    expect((await world.vms.listVms({ showDeleted: true })).vms).toEqual([]);
  });

  test('room and volume records that a zombie left are given back', async () => {
    const vm = await create();
    await world.placement.place({
      vmUid: newUid(),
      zone: ground.zone,
      needs: { vcpus: 1, memoryBytes: MiB, diskBytes: MiB },
      architecture: '',
    });
    const [volume] = (await world.records.volumes.find({ limit: 1 })).items;
    if (!volume) throw new Error('no volume');
    await world.records.volumes.insert(newUid(), {
      ...volume.value,
      state: 'allocated',
      vm: `vms/${newUid()}`,
    });
    expect(await world.claims()).toHaveLength(2);
    await settle();
    expect((await world.claims()).map(({ vmUid }) => vmUid)).toEqual([uidOf(vm)]);
    expect(await world.records.volumes.count()).toBe(1);
  });

  test('the background loop takes up a nudge without waiting for its pass, and ends when told', async () => {
    const vm = await create();
    const stop = new AbortController();
    const loop = world.reconciler.run(stop.signal);
    await happens.crash(vm);
    while ((await get(vm)).status?.generation !== 2n) await systemClock.sleep(5);
    stop.abort();
    await loop;
    await world.jobs.idle();
  });
});
