/** VMs over gRPC: each operation from request to rest, what is refused, and that a request happens once. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import {
  Power,
  PowerPolicy,
  VmStatus_State as State,
  type Vm,
} from '@nephos/proto/nephos/orchestration/v1/vm';
import { Volume_State as VolumeState } from '@nephos/proto/nephos/orchestration/v1/volume';
import { fromStatusMessage, newUid, Precondition } from '@nephos/service';
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

const specOf = (change: object = {}) => ({
  template: ground.template.header?.name ?? '',
  vcpus: 2,
  memoryBytes: BigInt(128 * MiB),
  ...change,
});
const vmOf = (displayName: string, spec: object = {}) => ({
  header: { displayName, owner: 'ann', zone: ground.zone },
  spec: specOf(spec),
});

/** How the operation ended: the reason it failed for, or none. */
async function done({ name }: Operation): Promise<string> {
  const { error } = await world.jobs.finished(name.slice('operations/'.length));
  return error === undefined ? '' : fromStatusMessage(error).message;
}

async function succeeds(operation: Promise<Operation>): Promise<void> {
  expect(await done(await operation)).toBe('');
}

async function created(displayName: string, spec: object = {}): Promise<Vm> {
  const operation = await world.vms.createVm({ vm: vmOf(displayName, spec) });
  await done(operation);
  const { vms } = await world.vms.listVms({ filter: `display_name = "${displayName}"` });
  return vms[0] as Vm;
}

const nameOf = (vm: Vm): string => vm.header?.name ?? '';
const get = (vm: Vm): Promise<Vm> => world.vms.getVm({ name: nameOf(vm) });

async function consoleOf(vm: Vm): Promise<string> {
  let text = '';
  for await (const { data } of world.vms.readVmConsole({ name: nameOf(vm) })) text += data.toString();
  return text;
}

describe('the life of a VM', () => {
  test('created, stopped, started, rebooted, deleted, recovered, expunged; nothing is left', async () => {
    const vm = await created('one');
    expect(vm.status).toMatchObject({ state: State.RUNNING, generation: 1n, reason: '', operation: '' });
    expect(vm.spec).toMatchObject({
      hostname: 'one',
      desiredPower: Power.ON,
      powerPolicy: PowerPolicy.FOLLOW,
    });
    expect(await ground.agent.running()).toEqual([vm.header?.uid]);
    const { volumes } = await world.volumes.listVolumes({ filter: `vm = "${nameOf(vm)}"` });
    expect(volumes).toMatchObject([{ state: VolumeState.READY, sizeBytes: BigInt(50 * MiB) }]);
    expect(await world.claims()).toMatchObject([{ vcpus: 2, memoryBytes: 128 * MiB, diskBytes: 50 * MiB }]);

    await succeeds(world.vms.stopVm({ name: nameOf(vm) }));
    expect(await get(vm)).toMatchObject({
      status: { state: State.STOPPED, reason: '' },
      spec: { desiredPower: Power.OFF },
    });
    expect(await world.claims()).toMatchObject([{ vcpus: 0, memoryBytes: 0, diskBytes: 50 * MiB }]);

    await succeeds(world.vms.startVm({ name: nameOf(vm) }));
    expect((await get(vm)).status).toMatchObject({ state: State.RUNNING, generation: 2n });
    await succeeds(world.vms.rebootVm({ name: nameOf(vm) }));
    expect((await consoleOf(vm)).match(/is up again/g)).toHaveLength(1);

    await succeeds(world.vms.deleteVm({ name: nameOf(vm), etag: (await get(vm)).header?.etag ?? '' }));
    expect((await get(vm)).status?.state).toBe(State.DELETED);
    expect((await world.vms.listVms({})).vms).toEqual([]);
    expect((await world.vms.listVms({ showDeleted: true })).vms).toHaveLength(1);
    expect(await ground.agent.running()).toEqual([]);

    await succeeds(world.vms.undeleteVm({ name: nameOf(vm) }));
    expect(await get(vm)).toMatchObject({
      status: { state: State.STOPPED },
      header: { deleteTime: undefined },
    });

    await succeeds(world.vms.expungeVm({ name: nameOf(vm) }));
    await expect(get(vm)).rejects.toMatchObject({ reason: 'RESOURCE_NOT_FOUND' });
    await nothingLeft();
  });

  test('running already and stopped already are success', async () => {
    const vm = await created('one');
    const calls = ground.agent.calls.filter((call) => call === 'start').length;
    await succeeds(world.vms.startVm({ name: nameOf(vm) }));
    expect(ground.agent.calls.filter((call) => call === 'start')).toHaveLength(calls);
    await succeeds(world.vms.stopVm({ name: nameOf(vm), force: true }));
    await succeeds(world.vms.stopVm({ name: nameOf(vm) }));
    expect((await get(vm)).status?.state).toBe(State.STOPPED);
  });

  test('one that should be off is made and not started, and holds only its disk', async () => {
    const vm = await created('off', { desiredPower: Power.OFF });
    expect(vm.status?.state).toBe(State.STOPPED);
    expect(await ground.agent.running()).toEqual([]);
    expect(await world.claims()).toMatchObject([{ vcpus: 0, diskBytes: 50 * MiB }]);
  });

  test('the console is forwarded', async () => {
    const vm = await created('one');
    expect(await consoleOf(vm)).toBe('(simulated: nothing booted) guest one is up\n');
  });
});

describe('what is refused', () => {
  test('all that is wrong with a create is said at once, and nothing is left', async () => {
    const vm = {
      header: { displayName: '', zone: `zones/${newUid()}` },
      spec: specOf({ vcpus: 0, template: `templates/${newUid()}` }),
    };
    const refusal = world.vms.createVm({ vm });
    await expect(refusal).rejects.toMatchObject({ kind: 'invalid', reason: 'FIELD_INVALID' });
    const { details } = (await refusal.catch((error: unknown) => error)) as {
      details: { fields: { field: string }[] };
    };
    const fields = details.fields.map(({ field }) => field);
    expect(fields.sort()).toEqual([
      'vm.header.display_name',
      'vm.header.zone',
      'vm.spec.template',
      'vm.spec.vcpus',
    ]);
    await nothingLeft();
  });

  test('a display name taken; a corrected retry under the same request id goes through', async () => {
    await created('one');
    const requestId = newUid();
    await expect(world.vms.createVm({ vm: vmOf('one') }, { requestId })).rejects.toMatchObject({
      kind: 'already-exists',
      reason: 'DISPLAY_NAME_TAKEN',
    });
    await succeeds(world.vms.createVm({ vm: vmOf('two') }, { requestId }));
    expect((await world.vms.listVms({})).vms).toHaveLength(2);
  });

  test('a name is free once its VM is deleted, and recovery then is refused', async () => {
    const first = await created('one');
    await succeeds(world.vms.deleteVm({ name: nameOf(first) }));
    await created('one');
    await expect(world.vms.undeleteVm({ name: nameOf(first) })).rejects.toMatchObject({
      reason: 'DISPLAY_NAME_TAKEN',
    });
  });

  test('a VM larger than any host is refused at once with the reasons counted, and leaves nothing', async () => {
    const huge = world.vms.createVm({ vm: vmOf('huge', { memoryBytes: BigInt(64 * 1024 * MiB) }) });
    await expect(huge).rejects.toMatchObject({
      kind: 'exhausted',
      reason: 'NO_HOST_FITS',
      details: { metadata: { considered: '1', 'rejected.memory': '1' } },
    });
    expect((await world.vms.listVms({ showDeleted: true })).vms).toEqual([]);
    await nothingLeft();
  });

  test('a VM for which there is no room now fails with the reasons counted, and gives everything back', async () => {
    const wholeHost = { memoryBytes: BigInt(1024 * MiB) };
    const first = await created('first', wholeHost);
    const vm = await created('second', wholeHost);
    expect(vm.status).toMatchObject({ state: State.FAILED, reason: 'NO_HOST_FITS', host: '', operation: '' });
    expect(vm.status?.message).toContain('1 memory');
    await expect(world.vms.startVm({ name: nameOf(vm) })).rejects.toMatchObject({ reason: 'STATE_FORBIDS' });
    await succeeds(world.vms.expungeVm({ name: nameOf(vm) }));
    await succeeds(world.vms.expungeVm({ name: nameOf(first) }));
    await nothingLeft();
  });

  test('a stale etag, an unknown field in the mask, a malformed filter and page token', async () => {
    const vm = await created('one');
    const header = { name: nameOf(vm), displayName: 'new' };
    const stale = { ...header, etag: 'x' };
    await expect(
      world.vms.updateVm({ vm: { header: stale }, updateMask: ['header.display_name'] }),
    ).rejects.toMatchObject({
      reason: 'ETAG_MISMATCH',
    });
    await expect(world.vms.deleteVm({ name: nameOf(vm), etag: 'x' })).rejects.toMatchObject({
      reason: 'ETAG_MISMATCH',
    });
    await expect(world.vms.updateVm({ vm: { header }, updateMask: ['spec.vcpus'] })).rejects.toMatchObject({
      reason: 'UPDATE_MASK_INVALID',
    });
    await expect(world.vms.listVms({ filter: 'nonsense(' })).rejects.toMatchObject({
      reason: 'FILTER_INVALID',
    });
    await expect(world.vms.listVms({ pageToken: 'x' })).rejects.toMatchObject({
      reason: 'PAGE_TOKEN_INVALID',
    });
    await expect(world.vms.getVm({ name: 'vms/none' })).rejects.toMatchObject({ kind: 'not-found' });
    await expect(world.vms.stopVm({ name: nameOf(vm), grace: { seconds: 3600n } })).rejects.toMatchObject({
      kind: 'invalid',
    });
  });

  test('another operation while one is under way', async () => {
    const vm = await created('one');
    const held = Promise.withResolvers<void>();
    const stop = world.links.hypervisor;
    world.links.hypervisor = async () => {
      await held.promise;
      return await stop();
    };
    const operation = await world.vms.stopVm({ name: nameOf(vm) });
    await expect(world.vms.rebootVm({ name: nameOf(vm) })).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'OPERATION_IN_PROGRESS',
    });
    expect((await get(vm)).status).toMatchObject({ operation: operation.name });
    held.resolve();
    await done(operation);
    expect((await get(vm)).status).toMatchObject({ state: State.STOPPED, operation: '' });
  });
});

describe('update and list', () => {
  test('name, labels and policy change by mask, without touching the rest', async () => {
    const vm = await created('one');
    const header = { name: nameOf(vm), displayName: 'renamed', labels: { tier: 'web' } };
    const patch = { header, spec: { powerPolicy: PowerPolicy.ALERT } };
    const mask = ['header.display_name', 'spec.power_policy'];
    const updated = await world.vms.updateVm({ vm: patch, updateMask: mask });
    expect(updated).toMatchObject({
      header: { displayName: 'renamed', labels: {} },
      spec: { powerPolicy: PowerPolicy.ALERT, vcpus: 2 },
    });
    await world.vms.updateVm({ vm: { header }, updateMask: ['header.labels'] });
    const { vms } = await world.vms.listVms({ filter: 'labels.tier = "web" AND state = "RUNNING"' });
    expect(vms.map(nameOf)).toEqual([nameOf(vm)]);
    await created('one');
  });

  test('pages follow one another, newest first', async () => {
    for (const name of ['a', 'b', 'c']) await created(name, { desiredPower: Power.OFF });
    const first = await world.vms.listVms({ pageSize: 2 });
    const second = await world.vms.listVms({ pageSize: 2, pageToken: first.nextPageToken });
    const names = [...first.vms, ...second.vms].map(({ header }) => header?.displayName);
    expect(names).toEqual(['c', 'b', 'a']);
    expect(second.nextPageToken).toBe('');
  });
});

describe('once', () => {
  test('fifty times at once, and again after a restart: one VM, one operation', async () => {
    const requestId = newUid();
    const vm = vmOf('one');
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => world.vms.createVm({ vm }, { requestId })),
    );
    const names = new Set(answers.map(({ name }) => name));
    expect(names.size).toBe(1);
    await world.jobs.idle();
    const { jobs } = world;
    await world[Symbol.asyncDispose]();
    world = await openWorld(ground);
    for (const [uid, record] of jobs.records) world.jobs.records.set(uid, record);
    const again = await world.vms.createVm({ vm }, { requestId });
    expect(names).toEqual(new Set([again.name]));
    expect(again.done).toBe(true);
    expect((await world.vms.listVms({})).vms).toHaveLength(1);
    await expect(world.vms.createVm({ vm: vmOf('other') }, { requestId })).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
  });

  test('a create whose job could not be submitted is carried out by the sweeper', async () => {
    world.jobs.available = false;
    const requestId = newUid();
    const call = world.vms.createVm({ vm: vmOf('one') }, { requestId, deadlineMs: 1000 });
    // On a slow machine its time is up before its tries are.
    await expect(call).rejects.toMatchObject({ kind: expect.stringMatching(/^(unavailable|deadline)$/) });
    expect((await world.vms.listVms({})).vms[0]?.status?.state).toBe(State.PENDING);
    world.jobs.available = true;
    await world.idempotency.sweep();
    await world.jobs.idle();
    expect((await world.vms.listVms({})).vms[0]?.status?.state).toBe(State.RUNNING);
  });

  test('a step that the hypervisor refuses for good leaves a failed VM and nothing else', async () => {
    const error = () => new Precondition('HYPERVISOR_FAILED', 'no such machine type');
    ground.agent.faults.set('start', { error, times: 1 });
    const vm = await created('one');
    expect(vm.status).toMatchObject({
      state: State.FAILED,
      reason: 'HYPERVISOR_FAILED',
      message: 'no such machine type',
    });
    expect(await world.claims()).toEqual([]);
    expect(await ground.agent.volumes()).toEqual([]);
    expect((await world.volumes.listVolumes({})).volumes).toEqual([]);
  });
});

async function nothingLeft(): Promise<void> {
  expect((await world.vms.listVms({ showDeleted: true })).vms).toEqual([]);
  expect((await world.volumes.listVolumes({})).volumes).toEqual([]);
  expect(await world.claims()).toEqual([]);
  expect(await world.records.incarnations.count()).toBe(0);
  expect(await ground.agent.machines()).toEqual([]);
  expect(await ground.agent.volumes()).toEqual([]);
}
