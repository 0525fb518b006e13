/**
 * The platform on MongoDB, on a real server of its wire protocol: a VM's life from end to end, and a platform that
 * began on files, was moved, and goes on where it was. The oracle judges what both left.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { VmStatus_State as State, type Vm } from '@nephos/proto/nephos/orchestration/v1/vm';
import { moveStores } from '@nephos/store/move';
import type { MongoServer } from '@nephos/store/testing';
import { onMongo } from '@nephos/store/testing/on-mongo';
import { judge, layGround, nameOf, type Platform, startPlatform, succeeded } from '@nephos/testing';

/** Two whole platforms, on a machine that is shared. */
const longest = 300_000;

await onMongo((server) => {
  lifecycle(server);
  moving(server);
});

async function createVm({ api }: Platform, zone: string, template: string): Promise<Vm> {
  const header = { displayName: 'hello', zone, owner: 'ann' };
  const spec = { vcpus: 1, memoryBytes: 2n ** 27n, template };
  await succeeded(api, await api.vms.createVm({ vm: { header, spec } }));
  const [vm] = (await api.vms.listVms({ filter: 'owner = "ann"' })).vms;
  if (vm === undefined) throw new Error('the VM is not listed');
  return vm;
}

function lifecycle(server: MongoServer): void {
  test(
    `create, list, stop, start, delete, expunge (${server.name})`,
    async () => {
      await using platform = await startPlatform({ store: server.fresh() });
      const { api } = platform;
      const { zone, template } = await layGround(platform);
      const name = nameOf(await createVm(platform, zone, template));
      await expect(createVm(platform, zone, template)).rejects.toMatchObject({ kind: 'already-exists' });
      const steps = [
        { verb: () => api.vms.stopVm({ name }), state: State.STOPPED },
        { verb: () => api.vms.startVm({ name }), state: State.RUNNING },
        { verb: () => api.vms.deleteVm({ name }), state: State.DELETED },
      ];
      for (const { verb, state } of steps) {
        await succeeded(api, await verb());
        expect(await api.vms.getVm({ name })).toMatchObject({ status: { state, operation: '' } });
      }
      await succeeded(api, await api.vms.expungeVm({ name }));
      expect((await api.vms.listVms({ showDeleted: true })).vms).toEqual([]);
      const { problems, events } = await judge(platform);
      expect(problems).toEqual([]);
      expect(events.events).toBeGreaterThan(30);
    },
    longest,
  );
}

function moving(server: MongoServer): void {
  test(
    `a platform moved from its files goes on where it was (${server.name})`,
    async () => {
      const data = await mkdtemp(path.join(tmpdir(), 'nephos-moved-'));
      const store = server.fresh();
      try {
        const before = await beforeMove(data);
        const report = await moveStores({ from: data, to: store });
        expect(new Set(report.services.map(({ outcome }) => outcome))).toEqual(new Set(['moved']));
        expect(report.left).toEqual(['host-agent']);
        // The oracle would count what lies there twice.
        for (const { file } of report.services) await rm(file);

        await using platform = await startPlatform({ data, store });
        const { api } = platform;
        const name = nameOf(before.vm);
        expect(await api.vms.getVm({ name })).toEqual(before.vm);
        expect(await listed(platform)).toEqual(before.listed);
        await succeeded(api, await api.vms.stopVm({ name }));
        await succeeded(api, await api.vms.expungeVm({ name }));
        const { problems, events } = await judge(platform);
        expect(problems).toEqual([]);
        expect(events.events).toBeGreaterThan(30);
      } finally {
        await rm(data, { recursive: true });
      }
    },
    longest,
  );
}

async function beforeMove(data: string) {
  await using platform = await startPlatform({ data });
  const { zone, template } = await layGround(platform);
  const vm = await createVm(platform, zone, template);
  expect(vm.status?.state).toBe(State.RUNNING);
  return { vm, listed: await listed(platform) };
}

/** What does not change by itself. */
async function listed({ api }: Platform) {
  const { vms } = await api.vms.listVms({});
  const { volumes } = await api.volumes.listVolumes({});
  const { templates } = await api.templates.listTemplates({});
  const { zones } = await api.zones.listZones({});
  return { vms, volumes, templates, zones };
}
