/**
 * What the driver keeps of a machine on disk: `<root>/vms/<uid>/` with `machine.json`, logs and pid file, and its
 * sockets in a short folder of their own, since a unix socket's path has at most 107 bytes. The driver is the
 * only writer. Each write is whole and synced before anything is done that rests on it; a crash leaves at most a
 * `machine.json.partial`, which the next write overwrites.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Internal, Invalid } from '@nephos/service';
import type { MachinePaths } from '../../domain/qemu/devices.ts';
import type { MachineSpec } from '../../domain/qemu/machine.ts';
import type { MachineCause } from '../../domain/qemu/observation.ts';
import { isErrno, syncFolder } from '../files.ts';

/**
 * One run of a machine. `starting` was written before QEMU was spawned, `started` before the guest ran its first
 * instruction: a `starting` without a process never ran, a `started` without one ran and is gone.
 */
export interface RunRecord {
  readonly phase: 'starting' | 'started' | 'ended';
  /** Why it is being ended, once that was asked; set before it is done. */
  readonly ending?: MachineCause;
  /** The last reboot; set before it is done, so that it is not done twice. */
  readonly rebootUid?: string;
  /** Of an `ended` one. */
  readonly end?: { readonly cause: MachineCause; readonly message: string };
}

export interface MachineRecord {
  readonly schema: 1;
  readonly spec: MachineSpec;
  readonly run: RunRecord;
}

export interface FolderPaths extends MachinePaths {
  readonly folder: string;
  readonly qemuLog: string;
}

const longestSocketPath = 107;
const recordFile = 'machine.json';

export class MachineFolders {
  readonly #vms: string;
  readonly #sockets: string;

  /** `root` is the agent's own; `sockets` is a short path (`defaultSocketFolder` if left out). */
  constructor(root: string, sockets = defaultSocketFolder(root)) {
    this.#vms = path.join(root, 'vms');
    this.#sockets = sockets;
    const longest = Buffer.byteLength(this.paths('00000000-0000-0000-0000-000000000000').serialSocket);
    if (longest > longestSocketPath) {
      throw new Invalid('FIELD_INVALID', `The socket folder's path is too long: ${sockets}`);
    }
  }

  async prepare(): Promise<void> {
    await mkdir(this.#vms, { recursive: true, mode: 0o700 });
    await mkdir(this.#sockets, { recursive: true, mode: 0o700 });
  }

  paths(vmUid: string): FolderPaths {
    const folder = path.join(this.#vms, vmUid);
    const socket = (kind: string) => path.join(this.#sockets, `${vmUid}.${kind}`);
    return {
      folder,
      qemuLog: path.join(folder, 'qemu.log'),
      serialLog: path.join(folder, 'serial.log'),
      pidFile: path.join(folder, 'qemu.pid'),
      qmp: socket('qmp'),
      spareQmp: socket('spare'),
      serialSocket: socket('serial'),
      vnc: socket('vnc'),
    };
  }

  /** All records. A folder without one is not a machine: its making was cut short. */
  async all(): Promise<MachineRecord[]> {
    const records = await Promise.all((await readdir(this.#vms)).map((vmUid) => this.read(vmUid)));
    return records.filter((record) => record !== undefined);
  }

  /** Nothing if there is none; a record that cannot be read is a fault, not an absence. */
  async read(vmUid: string): Promise<MachineRecord | undefined> {
    const file = path.join(this.paths(vmUid).folder, recordFile);
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (fault) {
      if (isErrno(fault, 'ENOENT')) return undefined;
      throw fault;
    }
    return decode(text, file);
  }

  async write(record: MachineRecord): Promise<void> {
    const { folder } = this.paths(record.spec.vmUid);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = path.join(folder, recordFile);
    await using handle = await open(`${file}.partial`, 'w', 0o600);
    await handle.writeFile(encode(record));
    await handle.sync();
    await rename(`${file}.partial`, file);
    await syncFolder(folder);
    await syncFolder(this.#vms);
  }

  /** Sockets of a QEMU that was killed stay behind, and would keep the next one from binding. */
  async removeSockets(vmUid: string): Promise<void> {
    const { qmp, spareQmp, serialSocket, vnc } = this.paths(vmUid);
    await Promise.all([qmp, spareQmp, serialSocket, vnc].map((socket) => rm(socket, { force: true })));
  }

  /** All of it but the disks, which are not the driver's. */
  async remove(vmUid: string): Promise<void> {
    await this.removeSockets(vmUid);
    await rm(this.paths(vmUid).folder, { recursive: true, force: true });
    await syncFolder(this.#vms);
  }
}

/** In memory (/run) as root, else below the temporary folder; named after the root, so that two agents differ. */
export function defaultSocketFolder(root: string): string {
  const id = createHash('sha256').update(path.resolve(root)).digest('hex').slice(0, 10);
  const user = process.getuid?.() ?? 0;
  const base = user === 0 ? '/run' : (process.env['XDG_RUNTIME_DIR'] ?? tmpdir());
  return path.join(base, `nephos-${id}`);
}

/** True once a driver was opened on that root. */
export function hasMachines(root: string): boolean {
  return existsSync(path.join(root, 'vms'));
}

function encode(record: MachineRecord): string {
  const spec = {
    ...record.spec,
    generation: String(record.spec.generation),
    memoryBytes: String(record.spec.memoryBytes),
  };
  return `${JSON.stringify({ ...record, spec }, undefined, 2)}\n`;
}

interface Encoded extends Omit<MachineRecord, 'schema' | 'spec'> {
  readonly schema: number;
  readonly spec: Omit<MachineSpec, 'generation' | 'memoryBytes'> & {
    readonly generation: string;
    readonly memoryBytes: string;
  };
}

function decode(text: string, file: string): MachineRecord {
  const encoded = JSON.parse(text) as Encoded;
  if (encoded.schema !== 1)
    throw new Internal('INTERNAL', `${file} has schema ${encoded.schema}; 1 is known`);
  const spec = {
    ...encoded.spec,
    generation: BigInt(encoded.spec.generation),
    memoryBytes: BigInt(encoded.spec.memoryBytes),
  };
  return { schema: 1, spec, run: encoded.run };
}
