/**
 * What is not needed may be away (DESIGN section 2: extra services can be switched off one by one and orchestration
 * goes on): without templates the VMs that are there go their way; without directory and broker everything does, and
 * what happened meanwhile is told when the broker is back.
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import { VmStatus_State as State } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  type Ground,
  judge,
  layGround,
  nameOf,
  type Platform,
  startPlatform,
  succeeded,
} from '@nephos/testing';

let platform: Platform;
let ground: Ground;
beforeEach(async () => {
  platform = await startPlatform();
  ground = await layGround(platform);
});
afterEach(async () => {
  await platform[Symbol.asyncDispose]();
});

function create(displayName: string, deadlineMs = 30_000): Promise<Operation> {
  const spec = { vcpus: 1, memoryBytes: 2n ** 27n, template: ground.template };
  return platform.api.vms.createVm(
    { vm: { header: { displayName, zone: ground.zone }, spec } },
    { deadlineMs },
  );
}

async function deploy(displayName: string): Promise<string> {
  await succeeded(platform.api, await create(displayName));
  const { vms } = await platform.api.vms.listVms({ filter: `display_name = "${displayName}"` });
  expect(vms[0]?.status?.state).toBe(State.RUNNING);
  return nameOf(vms[0]);
}

/** All that can be done with a VM that is there. */
async function goThrough(name: string): Promise<void> {
  const { vms } = platform.api;
  const verbs = [
    vms.stopVm,
    vms.startVm,
    vms.rebootVm,
    vms.deleteVm,
    vms.undeleteVm,
    vms.startVm,
    vms.expungeVm,
  ];
  for (const verb of verbs) await succeeded(platform.api, await verb({ name }));
}

test('without the template service: VMs that are there go on, a new one is refused in plain words', async () => {
  const name = await deploy('there');
  await platform.services.template.stop();
  await goThrough(name);
  await expect(create('new', 2000)).rejects.toMatchObject({
    kind: expect.stringMatching(/unavailable|deadline/),
  });
  await platform.services.template.start();
  await deploy('new');
  expect((await judge(platform)).problems).toEqual([]);
});

test('without directory and broker: commands go on, and every event is told when the broker is back', async () => {
  // Whoever is called for the first time must be looked up; from then on the last known list serves.
  await deploy('before');
  await platform.services.directory.stop();
  await platform.nats.kill();
  const name = await deploy('meanwhile');
  await goThrough(name);
  await deploy('stays');
  await platform.nats.restart();
  await platform.services.directory.start();
  const { problems, events } = await judge(platform);
  expect(problems).toEqual([]);
  expect(events.events).toBeGreaterThan(50);
});

test('without the host agent: what is asked of it waits, and is done when it is back', async () => {
  const name = await deploy('waits');
  await platform.services['host-agent'].stop();
  const stopping = await platform.api.vms.stopVm({ name });
  expect((await platform.api.operations.getOperation({ name: stopping.name })).done).toBe(false);
  await platform.services['host-agent'].start();
  await succeeded(platform.api, stopping);
  expect((await judge(platform)).problems).toEqual([]);
});
