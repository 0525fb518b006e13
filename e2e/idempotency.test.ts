/** The same request id, however often and whenever: one VM, one operation (DESIGN section 4). */
import { expect, test } from '@jest/globals';
import { NephosError } from '@nephos/service';
import {
  finished,
  judge,
  layGround,
  startPlatform,
  startPlatformProcesses,
  succeeded,
} from '@nephos/testing';

const requestId = '01890a5d-ac96-774b-bcce-b302099a8057';

test('fifty at once, again when it is done, and again after a restart: one VM, the same operation', async () => {
  await using platform = await startPlatform();
  const { api, services } = platform;
  const { zone, template } = await layGround(platform);
  const request = {
    vm: { header: { displayName: 'one', zone }, spec: { vcpus: 1, memoryBytes: 2n ** 27n, template } },
  };
  const create = (options = {}) => api.vms.createVm(request, { requestId, ...options });

  const operations = await Promise.all(Array.from({ length: 50 }, () => create()));
  const [first] = operations;
  if (!first) throw new Error('no answer');
  expect(new Set(operations.map(({ name }) => name))).toEqual(new Set([first.name]));
  await succeeded(api, first);
  expect(await create()).toMatchObject({ name: first.name, done: true });

  await services.orchestrator.stop();
  await services['job-control'].stop();
  await services['job-control'].start();
  await services.orchestrator.start();
  const after = await Promise.all(Array.from({ length: 50 }, () => create()));
  expect(new Set(after.map(({ name }) => name))).toEqual(new Set([first.name]));
  expect((await finished(api, first)).result).toEqual((await create()).result);

  const other = { vm: { ...request.vm, spec: { ...request.vm.spec, vcpus: 2 } } };
  await expect(api.vms.createVm(other, { requestId })).rejects.toMatchObject({
    kind: 'invalid',
    reason: 'REQUEST_ID_REUSED',
  });
  // Request ids are each principal's own.
  await succeeded(
    api,
    await api.vms.createVm(
      { vm: { ...request.vm, header: { displayName: 'two', zone } } },
      { requestId, principal: 'users/bob' },
    ),
  );
  const { vms } = await api.vms.listVms({});
  expect(new Set(vms.map(({ header }) => header?.displayName))).toEqual(new Set(['one', 'two']));
  expect(vms).toHaveLength(2);
  expect((await judge(platform)).problems).toEqual([]);
});

test('the orchestrator is killed while fifty ask at once: one VM, and all get the same operation', async () => {
  await using platform = await startPlatformProcesses();
  const { api, services } = platform;
  const { zone, template } = await layGround(platform);
  const request = {
    vm: { header: { displayName: 'one', zone }, spec: { vcpus: 1, memoryBytes: 2n ** 27n, template } },
  };
  /** As a client does whose call was cut: the same again. */
  const insist = async (): Promise<string> => {
    for (;;) {
      try {
        return (await api.vms.createVm(request, { requestId })).name;
      } catch (error) {
        if (!(error instanceof NephosError && error.kind === 'unavailable')) throw error;
      }
    }
  };
  const asked = Array.from({ length: 50 }, insist);
  await Promise.race(asked);
  await services.orchestrator.kill();
  await services.orchestrator.start();
  const names = new Set(await Promise.all(asked));
  expect(names.size).toBe(1);
  await succeeded(api, { name: [...names][0] ?? '' });
  expect((await api.vms.listVms({})).vms).toHaveLength(1);
  expect((await judge(platform)).problems).toEqual([]);
});

test('a request accepted by an orchestrator that died before it submitted the job is carried out by the next', async () => {
  await using platform = await startPlatform();
  const { api, services } = platform;
  const { zone, template } = await layGround(platform);
  await services['job-control'].stop();
  const request = {
    vm: { header: { displayName: 'left', zone }, spec: { vcpus: 1, memoryBytes: 2n ** 27n, template } },
  };
  await expect(api.vms.createVm(request, { requestId, deadlineMs: 1500 })).rejects.toMatchObject({
    kind: expect.stringMatching(/unavailable|deadline/),
  });
  await services.orchestrator.stop();
  await services['job-control'].start();
  await services.orchestrator.start();
  const operation = await api.vms.createVm(request, { requestId });
  await succeeded(api, operation);
  expect((await api.vms.listVms({})).vms).toHaveLength(1);
  expect((await judge(platform)).problems).toEqual([]);
});
