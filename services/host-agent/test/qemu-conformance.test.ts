/** QEMU behaves as every hypervisor must: the same suite as the simulated one, with guests that really boot. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { QemuImg } from '@nephos/images';
import { FenceGuard } from '@nephos/plugin';
import { type DriverUnderTest, hypervisorConformance } from '@nephos/plugin/conformance';
import { newUid, systemClock } from '@nephos/service';
import { openStore } from '@nephos/store';
import { pino } from 'pino';
import { ImageCache } from '../src/adapters/local/image-cache.ts';
import { LocalVolumes } from '../src/adapters/local/volumes.ts';
import { QemuDriver } from '../src/adapters/qemu/index.ts';
import { kill, runningQemus } from '../src/adapters/qemu/processes.ts';
import { QemuHypervisor } from '../src/adapters/qemu-hypervisor.ts';
import { prepareQemuHost, type QemuHost, serialShows } from './qemu-guest.ts';

const info = { name: 'qemu', version: '0', backendVersion: '', contractVersions: ['v1'], configSchema: '{}' };
const host = {
  host: 'this',
  hypervisor: 'qemu',
  accelerator: 'tcg',
  acceleratorReason: '',
  cpus: 2,
  memoryBytes: 2n ** 32n,
  diskBytes: 2n ** 40n,
  architecture: 'x86_64',
};

async function* readGuest(guest: string, offset: number) {
  yield { data: (await readFile(guest)).subarray(offset) };
}

async function underTest(folder: string, qemu: QemuHost): Promise<DriverUnderTest> {
  const store = await openStore({ url: `sqlite://${path.join(folder, 'agent.db')}`, clock: systemClock });
  const { installation, guest } = qemu;
  const root = path.join(folder, 'root');
  const log = pino({ level: 'silent' });
  const machines = await QemuDriver.open({ root, installation, clock: systemClock, log });
  const qemuImg = new QemuImg({ clock: systemClock });
  const never = new AbortController().signal;
  const images = new ImageCache(
    path.join(root, 'templates'),
    (_, offset) => readGuest(guest, offset),
    qemuImg,
    never,
  );
  const volumes = new LocalVolumes({
    root: path.join(root, 'volumes'),
    host: host.host,
    images,
    qemuImg,
    info,
  });
  await volumes.prepare();
  const processes = async () => (await runningQemus()).filter(({ pidFile }) => pidFile.startsWith(root));
  let open = true;
  const letGo = async (): Promise<void> => {
    if (!open) return;
    open = false;
    await machines[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
  };
  return {
    driver: new QemuHypervisor(machines, volumes, host, info),
    guard: await FenceGuard.open(store, systemClock),
    volume: async () => {
      const volumeUid = newUid();
      const content = await readFile(guest);
      const templateSha256 = createHash('sha256').update(content).digest('hex');
      const image = {
        template: `templates/${newUid()}`,
        sha256: templateSha256,
        sizeBytes: content.length,
      } as const;
      const options = { signal: never, progress: () => undefined };
      await volumes.ensureTemplate(host.host, { ...image, format: 'qcow2' }, options);
      await volumes.createVolume(host.host, { volumeUid, sizeBytes: 2 ** 27, templateSha256 });
      return volumeUid;
    },
    happen: async (vmUid, what) => {
      if (what === 'crash') {
        for (const each of await processes()) if (each.uuid === vmUid) await kill(each);
        return;
      }
      await serialShows(machines, vmUid, 'is up');
      const line = connect(machines.sockets(vmUid).serial);
      await once(line, 'connect');
      const gone = Promise.withResolvers<void>();
      using _listening = machines.onObservation(({ state }) => {
        if (state === 'powered-off') gone.resolve();
      });
      line.write('poweroff\n');
      await gone.promise;
      line.destroy();
    },
    reopen: async () => {
      await letGo();
      return underTest(folder, qemu);
    },
    close: async () => {
      await letGo();
      for (const each of await processes()) await kill(each);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

hypervisorConformance('QEMU', async () =>
  underTest(await mkdtemp(path.join(tmpdir(), 'nephos-qemu-')), await prepareQemuHost()),
);
