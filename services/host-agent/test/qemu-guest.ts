/**
 * What the QEMU tests share: the guest built once, the host probed once, and a driver with a folder of its own
 * that leaves no process behind. Without QEMU the tests fail, and say what to install.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { QemuImg } from '@nephos/images';
import { newUid, systemClock } from '@nephos/service';
import { pino } from 'pino';
import {
  type MachineObservation,
  type MachineSpec,
  probeQemu,
  QemuDriver,
  type QemuInstallation,
} from '../src/adapters/qemu/index.ts';
import { kill, runningQemus } from '../src/adapters/qemu/processes.ts';

const repo = path.resolve(import.meta.dirname, '../../..');
const run = promisify(execFile);

export interface QemuHost {
  readonly guest: string;
  readonly installation: QemuInstallation;
}

/** Takes some ten seconds the first time on a machine; later the guest is there. */
export async function prepareQemuHost(): Promise<QemuHost> {
  const built = await run(process.execPath, [path.join(repo, 'deploy/guest/build.mjs')]);
  const guest = built.stdout.trim().split('\n').at(-1) ?? '';
  return { guest, installation: await probeQemu({ clock: systemClock }) };
}

/** A root folder with sockets beside it. Disposing ends what still runs of it and removes it. */
export class TestRoot implements AsyncDisposable {
  readonly root: string;
  readonly sockets: string;
  readonly host: QemuHost;

  private constructor(folder: string, host: QemuHost) {
    this.root = path.join(folder, 'root');
    this.sockets = path.join(folder, 's');
    this.host = host;
  }

  static async create(host: QemuHost): Promise<TestRoot> {
    const folder = await mkdtemp(path.join(tmpdir(), 'nephos-qemu-'));
    await mkdir(path.join(folder, 'disks'));
    return new TestRoot(folder, host);
  }

  async open(): Promise<QemuDriver> {
    return await QemuDriver.open({
      root: this.root,
      socketFolder: this.sockets,
      installation: this.host.installation,
      clock: systemClock,
      log: pino({ level: 'silent' }),
    });
  }

  /** A spec with a fresh root disk over the guest. */
  async spec(hostname: string): Promise<MachineSpec> {
    const volumeUid = newUid();
    const disk = path.join(path.dirname(this.root), 'disks', `${volumeUid}.qcow2`);
    await new QemuImg({ clock: systemClock }).createOverlay({
      path: disk,
      base: this.host.guest,
      baseFormat: 'qcow2',
    });
    const image = {
      path: disk,
      format: 'qcow2',
      backing: { path: this.host.guest, format: 'qcow2' },
    } as const;
    return {
      vmUid: newUid(),
      incarnationUid: newUid(),
      generation: 1n,
      hostname,
      vcpus: 1,
      memoryBytes: 256n * 2n ** 20n,
      disks: [{ volumeUid, readOnly: false, image }],
      pinned: {},
    };
  }

  async processes() {
    return (await runningQemus()).filter(({ pidFile }) => pidFile.startsWith(this.root));
  }

  /** Kills every machine, and returns once none is there any more. */
  async killProcesses(): Promise<void> {
    for (const each of await this.processes()) await kill(each);
    while ((await this.processes()).length > 0) await systemClock.sleep(5);
  }

  /** What is left of machines: processes, sockets, records. */
  async leftovers(): Promise<string[]> {
    const processes = (await this.processes()).map(({ pid }) => `process ${pid}`);
    return [...processes, ...(await readdir(this.sockets)), ...(await readdir(path.join(this.root, 'vms')))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.killProcesses();
    await rm(path.dirname(this.root), { recursive: true });
  }
}

/** Waits until the guest's serial output holds `text` after the offset; returns all of it from there. */
export async function serialShows(
  driver: QemuDriver,
  vmUid: string,
  text: string,
  offset = 0,
): Promise<string> {
  const end = performance.now() + 300_000;
  for (;;) {
    const said = (await driver.readSerial(vmUid, offset, 2 ** 20)).data.toString();
    if (said.includes(text)) return said;
    if (performance.now() > end) throw new Error(`the guest did not say "${text}" but: ${said}`);
    await systemClock.sleep(50);
  }
}

/** Collects observations, and waits for one that is as wanted, come already or yet to come. */
export function observations(driver: QemuDriver) {
  const seen: MachineObservation[] = [];
  const waiting = new Set<() => void>();
  driver.onObservation((observation) => {
    seen.push(observation);
    for (const look of waiting) look();
  });
  const next = async (state: MachineObservation['state'], cause?: MachineObservation['cause']) =>
    await new Promise<MachineObservation>((resolve) => {
      const look = () => {
        const found = seen.find((each) => each.state === state && (!cause || each.cause === cause));
        if (!found) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
    });
  return { seen, next };
}
