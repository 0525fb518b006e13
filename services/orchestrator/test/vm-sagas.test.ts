/**
 * Every job on VMs, crashed and failed at every step: a crash is gone over as if it had not been, a failure is undone
 * and leaks nothing, and whatever happens no VM runs twice and no operation is left holding one.
 */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import { Power, VmStatus_State as State, type Vm } from '@nephos/proto/nephos/orchestration/v1/vm';
import { Precondition, Unavailable } from '@nephos/service';
import type { CrashPoint } from './support/jobs.ts';
import { type Ground, MiB, openGround, openWorld, type World } from './support/world.ts';

let ground: Ground;
let world: World;
beforeEach(async () => {
  ground = await openGround();
  world = await openWorld(ground);
});
afterEach(async () => {
  await world[Symbol.asyncDispose]();
  await ground[Symbol.asyncDispose]();
});

let count = 0;

async function create(): Promise<Vm> {
  count += 1;
  const displayName = `vm-${count}`;
  const header = { displayName, owner: 'ann', zone: ground.zone };
  const spec = { template: ground.template.header?.name ?? '', vcpus: 1, memoryBytes: BigInt(64 * MiB) };
  await over(await world.vms.createVm({ vm: { header, spec } }));
  const { vms } = await world.vms.listVms({ filter: `display_name = "${displayName}"`, showDeleted: true });
  return vms[0] as Vm;
}

async function over({ name }: Operation): Promise<void> {
  await world.jobs.finished(name.slice('operations/'.length));
}

const nameOf = (vm: Vm): string => vm.header?.name ?? '';
const get = (vm: Vm): Promise<Vm> => world.vms.getVm({ name: nameOf(vm) });

/** What must hold whenever nothing is under way. */
async function checkRest(): Promise<void> {
  const { vms } = await world.vms.listVms({ showDeleted: true });
  const claims = await world.claims();
  const held = await world.records.operations.find({ orderBy: 'held', limit: 10 });
  expect(held.items).toEqual([]);
  const claimants = vms.filter(({ status }) => status?.host !== '').map(({ header }) => header?.uid);
  expect(new Set(claims.map(({ vmUid }) => vmUid))).toEqual(new Set(claimants));
  expect(claims).toHaveLength(claimants.length);
  const running = vms
    .filter(({ status }) => status?.state === State.RUNNING)
    .map(({ header }) => header?.uid);
  expect(new Set(await ground.agent.running())).toEqual(new Set(running));
  const { volumes } = await world.volumes.listVolumes({});
  expect(new Set(volumes.map(({ header }) => header?.uid))).toEqual(new Set(await ground.agent.volumes()));
}

/** One life that goes through every job, and what each leaves. */
const verbs = {
  'vm.stop': { run: (vm: Vm) => world.vms.stopVm({ name: nameOf(vm) }), leaves: State.STOPPED },
  'vm.start': { run: (vm: Vm) => world.vms.startVm({ name: nameOf(vm) }), leaves: State.RUNNING },
  'vm.reboot': { run: (vm: Vm) => world.vms.rebootVm({ name: nameOf(vm) }), leaves: State.RUNNING },
  'vm.delete': { run: (vm: Vm) => world.vms.deleteVm({ name: nameOf(vm) }), leaves: State.DELETED },
  'vm.undelete': { run: (vm: Vm) => world.vms.undeleteVm({ name: nameOf(vm) }), leaves: State.STOPPED },
} as const;

async function wholeLife(): Promise<void> {
  const vm = await create();
  expect((await get(vm)).status?.state).toBe(State.RUNNING);
  await checkRest();
  for (const { run, leaves } of Object.values(verbs)) {
    await over(await run(vm));
    expect((await get(vm)).status).toMatchObject({ state: leaves, operation: '' });
    await checkRest();
  }
  await over(await world.vms.expungeVm({ name: nameOf(vm) }));
  await checkRest();
  await expect(get(vm)).rejects.toMatchObject({ kind: 'not-found' });
}

describe('an executor that dies', () => {
  test.each<CrashPoint>(['before', 'after'])(
    '%s each step of each job, once: every life goes its way',
    async (at) => {
      const died = new Set<string>();
      world.jobs.crash = (job, step, point) => {
        const key = `${job}/${step}`;
        if (point !== at || died.has(key)) return false;
        died.add(key);
        return true;
      };
      await wholeLife();
      expect(died.size).toBeGreaterThan(30);
      expect(ground.agent.calls.filter((call) => call === 'reboot').length).toBeGreaterThan(0);
    },
  );
});

describe('a step that fails for good', () => {
  test('at each step of create: the VM is failed, and nothing else is left', async () => {
    await create();
    const steps = world.jobs.stepsOf('vm.create').filter((step) => step !== 'finish');
    expect(steps).toEqual([
      'acquire',
      'intent',
      'place',
      'volume',
      'template',
      'disk',
      'run',
      'start',
      'whole',
    ]);
    for (const step of steps) {
      world.jobs.fail = (job, name) =>
        job === 'vm.create' && name === step ? new Precondition('STORAGE_FAILED', `at ${step}`) : undefined;
      const vm = await create();
      expect([step, vm.status]).toMatchObject([
        step,
        { state: State.FAILED, reason: 'STORAGE_FAILED', host: '' },
      ]);
      await checkRest();
      expect(await ground.agent.running()).toHaveLength(1);
    }
  });

  test('at each step of create, with the executor dying at each undo: the same', async () => {
    await create();
    for (const step of world.jobs.stepsOf('vm.create').filter((name) => name !== 'finish')) {
      const died = new Set<string>();
      world.jobs.crash = (job, name, point) => {
        const key = `${name}/${point}`;
        if (!point.startsWith('undo') || died.has(key)) return false;
        died.add(key);
        return true;
      };
      world.jobs.fail = (job, name) =>
        job === 'vm.create' && name === step ? new Precondition('STORAGE_FAILED', `at ${step}`) : undefined;
      const vm = await create();
      expect([step, vm.status]).toMatchObject([
        step,
        { state: State.FAILED, reason: 'STORAGE_FAILED', host: '' },
      ]);
      await checkRest();
    }
  });

  test('at each step of start, stop, reboot, delete, undelete: as before, or as asked, never between', async () => {
    for (const [kind, { run, leaves }] of Object.entries(verbs)) {
      const failing = await create();
      await prepare(failing, kind);
      const before = (await get(failing)).status?.state;
      const model = await create();
      await prepare(model, kind);
      await over(await run(model));
      for (const step of world.jobs.stepsOf(kind).filter((name) => name !== 'finish')) {
        world.jobs.fail = (job, name) =>
          job === kind && name === step ? new Precondition('HYPERVISOR_FAILED', `at ${step}`) : undefined;
        await over(await run(failing));
        world.jobs.fail = () => undefined;
        const { state } = (await get(failing)).status ?? {};
        expect([kind, step, [before, leaves, State.STOPPED].includes(state as never)]).toEqual([
          kind,
          step,
          true,
        ]);
        await checkRest();
        if (state !== before) break;
      }
    }
  });

  async function prepare(vm: Vm, kind: string): Promise<void> {
    if (kind === 'vm.start') await over(await world.vms.stopVm({ name: nameOf(vm) }));
    if (kind === 'vm.undelete') await over(await world.vms.deleteVm({ name: nameOf(vm) }));
  }
});

describe('a host that cannot be reached', () => {
  const away = () => new Unavailable('SERVICE_UNAVAILABLE', 'the agent is away');

  test('while a create is undone: the VM is failed, what is left is removed when the host is back', async () => {
    world.jobs.fail = (job, step) =>
      job === 'vm.create' && step === 'whole' ? new Precondition('INTERNAL', 'no') : undefined;
    for (const verb of ['stop', 'deleteVolume'] as const)
      ground.agent.faults.set(verb, { error: away, times: 99 });
    const vm = await create();
    expect(vm.status?.state).toBe(State.FAILED);
    expect(await ground.agent.running()).toHaveLength(1);
    expect(await world.claims()).toHaveLength(1);
    ground.agent.faults.clear();
    await world.reconciler.pass();
    await world.jobs.idle();
    expect((await get(vm)).status).toMatchObject({ state: State.FAILED, host: '' });
    expect(await ground.agent.running()).toEqual([]);
    await checkRest();
  });

  test('does not hold up an expunge once it is known to be away; it is rid of the VM when it is back', async () => {
    const vm = await create();
    await world.links.setLink(ground.hostUid, 'disconnected');
    expect((await get(vm)).status).toMatchObject({ state: State.UNKNOWN, reason: 'HOST_DISCONNECTED' });
    await over(await world.vms.expungeVm({ name: nameOf(vm) }));
    await expect(get(vm)).rejects.toMatchObject({ kind: 'not-found' });
    expect(await world.claims()).toEqual([]);
    expect(await ground.agent.running()).toHaveLength(1);
    await world.reconciler.pass();
    expect(await ground.agent.running()).toHaveLength(1);
    await world.links.setLink(ground.hostUid, 'up');
    await world.reconciler.pass();
    await world.jobs.idle();
    expect(await ground.agent.machines()).toEqual([]);
    await checkRest();
  });

  test('for a moment only: the step is tried again', async () => {
    for (const verb of ['start', 'createVolume', 'ensureTemplate'] as const) {
      ground.agent.faults.set(verb, { error: away, times: 2 });
    }
    const vm = await create();
    expect(vm).toMatchObject({ status: { state: State.RUNNING }, spec: { desiredPower: Power.ON } });
    await checkRest();
  });
});
