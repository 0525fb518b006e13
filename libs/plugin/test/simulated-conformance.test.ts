/** The simulated hypervisor behaves as every hypervisor must; and each of its faults can be lived with. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { newUid, systemClock } from '@nephos/service';
import { openStore } from '@nephos/store';
import { type DriverUnderTest, hypervisorConformance } from '../src/conformance.ts';
import { FenceGuard } from '../src/fence-guard.ts';
import { SimulatedHypervisor, SimulatedStorage, SimulatedWorld } from '../src/simulated/index.ts';

const size = {
  hypervisor: 'simulated',
  accelerator: 'none',
  acceleratorReason: '',
  cpus: 4,
  memoryBytes: 2n ** 33n,
  diskBytes: 2n ** 40n,
  architecture: 'x86_64',
};
const info = {
  name: 'simulated',
  version: '0',
  backendVersion: '',
  contractVersions: ['v1'],
  configSchema: '{}',
};

async function openAt(folder: string, faultRate = 0) {
  const store = await openStore({ url: `sqlite://${path.join(folder, 'agent.db')}`, clock: systemClock });
  const world = await SimulatedWorld.open(store, 2, systemClock, { latencyMs: 0, faultRate, seed: 7 });
  const driver = new SimulatedHypervisor(world, size, info);
  const storage = new SimulatedStorage(world, 2n ** 40n, () => Promise.resolve(), info);
  return { store, world, driver, storage };
}

async function underTest(folder: string): Promise<DriverUnderTest> {
  const { store, world, driver, storage } = await openAt(folder);
  const [host = ''] = world.hosts;
  let open = true;
  const letGo = async (): Promise<void> => {
    if (!open) return;
    open = false;
    await store[Symbol.asyncDispose]();
  };
  return {
    driver,
    guard: await FenceGuard.open(store, systemClock),
    volume: async () => {
      const volumeUid = newUid();
      await storage.createVolume(host, { volumeUid, sizeBytes: 2 ** 30, templateSha256: '' });
      return volumeUid;
    },
    happen: (vmUid, what) => driver.happen(host, vmUid, what),
    reopen: async () => {
      await letGo();
      return underTest(folder);
    },
    close: async () => {
      await letGo();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

hypervisorConformance('simulated', async () =>
  underTest(await mkdtemp(path.join(tmpdir(), 'nephos-simulated-'))),
);

test('whatever fails, a repeat gets there and the deed is done once', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-simulated-'));
  const { store, world, storage } = await openAt(folder, 0.6);
  const [host = ''] = world.hosts;
  const spec = { volumeUid: newUid(), sizeBytes: 2 ** 30, templateSha256: '' };
  let failures = 0;
  const insist = async <T>(deed: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await deed();
      } catch {
        failures += 1;
      }
    }
  };
  for (let round = 0; round < 20; round += 1) {
    await insist(() => storage.createVolume(host, spec));
    expect(await storage.listVolumes(host)).toHaveLength(1);
    await insist(() => storage.deleteVolume(host, spec.volumeUid));
    expect(await storage.listVolumes(host)).toHaveLength(0);
  }
  expect(failures).toBeGreaterThan(20);
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

test('the same start twice at once is one run, and both hear of it', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-simulated-'));
  const { store, world, driver, storage } = await openAt(folder);
  const [host = ''] = world.hosts;
  const volumeUid = newUid();
  await storage.createVolume(host, { volumeUid, sizeBytes: 2 ** 30, templateSha256: '' });
  const machine = {
    vmUid: newUid(),
    incarnationUid: newUid(),
    generation: 1n,
    hostname: 'twice',
    vcpus: 1,
    memoryBytes: 2n ** 30n,
    disks: [{ volumeUid, readOnly: false }],
    pinned: {},
  };
  const both = await Promise.all([driver.start(host, machine), driver.start(host, machine)]);
  for (const { incarnationUid } of both) expect(incarnationUid).toBe(machine.incarnationUid);
  expect(await driver.list(host)).toHaveLength(1);
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});
