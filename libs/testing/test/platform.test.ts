/** The platform for tests itself: one VM's life in one process and in many, restarts, nothing left behind. */
import { existsSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { VmStatus_State as State } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  layGround,
  nameOf,
  type Platform,
  startPlatform,
  startPlatformProcesses,
  succeeded,
} from '../src/index.ts';

async function deploy(platform: Platform): Promise<string> {
  const { zone, template } = await layGround(platform);
  const spec = { vcpus: 1, memoryBytes: 2n ** 27n, template };
  await succeeded(
    platform.api,
    await platform.api.vms.createVm({ vm: { header: { displayName: 'vm', zone }, spec } }),
  );
  const { vms } = await platform.api.vms.listVms({});
  expect(vms.map(({ status }) => status?.state)).toEqual([State.RUNNING]);
  return nameOf(vms[0]);
}

test('in one process: a VM runs; a service comes back where it was', async () => {
  await using platform = await startPlatform();
  const name = await deploy(platform);
  await platform.services.orchestrator.stop();
  expect(platform.services.orchestrator.running).toBe(false);
  await platform.services.orchestrator.start();
  expect(nameOf(await platform.api.vms.getVm({ name }))).toBe(name);
  await platform.stop();
  expect(existsSync(platform.data)).toBe(true);
  await platform[Symbol.asyncDispose]();
  expect(existsSync(platform.data)).toBe(false);
});

test('each service a process: a killed one comes back with its data', async () => {
  await using platform = await startPlatformProcesses();
  const name = await deploy(platform);
  const { orchestrator } = platform.services;
  const before = orchestrator.pid;
  await orchestrator.kill();
  expect(() => process.kill(before, 0)).toThrow('ESRCH');
  await orchestrator.start();
  expect(orchestrator.pid).not.toBe(before);
  expect(nameOf(await platform.api.vms.getVm({ name }))).toBe(name);
});
