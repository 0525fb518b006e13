/** A VM's whole life on simulated hosts, through the public contract alone; then the oracle over what it left. */
import { expect, test } from '@jest/globals';
import { JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Power, VmStatus_State as State, type Vm } from '@nephos/proto/nephos/orchestration/v1/vm';
import { Volume_State as VolumeState } from '@nephos/proto/nephos/orchestration/v1/volume';
import { judge, layGround, nameOf, startPlatform, succeeded } from '@nephos/testing';

test('create, get, list, stop, start, reboot, delete, undelete, expunge', async () => {
  await using platform = await startPlatform();
  const { api } = platform;
  const { zone, template } = await layGround(platform);
  const header = { displayName: 'hello', zone, owner: 'ann', labels: { app: 'web' } };
  const spec = { vcpus: 2, memoryBytes: 2n ** 28n, template };
  const created = await succeeded(api, await api.vms.createVm({ vm: { header, spec } }));

  const { vms, nextPageToken } = await api.vms.listVms({ filter: 'labels.app = "web" AND owner = "ann"' });
  expect([vms.length, nextPageToken]).toEqual([1, '']);
  const name = nameOf(vms[0]);
  const get = (): Promise<Vm> => api.vms.getVm({ name });
  const vm = await get();
  expect(vm).toEqual(vms[0]);
  expect(vm).toMatchObject({ header, status: { state: State.RUNNING, operation: '' } });
  expect(created.result?.$case).toBe('response');
  const volume = await api.volumes.getVolume({ name: vm.status?.rootVolume ?? '' });
  expect(volume).toMatchObject({ state: VolumeState.READY, vm: name });
  const job = await api.jobs.getJob({ name: created.name.replace('operations/', 'jobs/') });
  expect(job).toMatchObject({ type: 'vm.create', state: JobState.SUCCEEDED, target: name });

  const steps = [
    { verb: () => api.vms.stopVm({ name }), state: State.STOPPED, power: Power.OFF },
    { verb: () => api.vms.startVm({ name }), state: State.RUNNING, power: Power.ON },
    { verb: () => api.vms.rebootVm({ name }), state: State.RUNNING, power: Power.ON },
    { verb: () => api.vms.deleteVm({ name }), state: State.DELETED, power: Power.OFF },
    { verb: () => api.vms.undeleteVm({ name }), state: State.STOPPED, power: Power.OFF },
  ];
  for (const { verb, state, power } of steps) {
    await succeeded(api, await verb());
    expect(await get()).toMatchObject({ spec: { desiredPower: power }, status: { state, operation: '' } });
  }
  await succeeded(api, await api.vms.expungeVm({ name }));
  await expect(get()).rejects.toMatchObject({ kind: 'not-found', reason: 'RESOURCE_NOT_FOUND' });
  expect((await api.vms.listVms({ showDeleted: true })).vms).toEqual([]);
  expect((await api.volumes.listVolumes({})).volumes).toEqual([]);

  const { problems, events } = await judge(platform);
  expect(problems).toEqual([]);
  expect(events.events).toBeGreaterThan(50);
});
