/**
 * QEMU's processes as the kernel shows them in /proc: the only proof that a machine runs or is gone. A process
 * is known by its id and its start time, since ids come round again.
 */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { isErrno } from '../files.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** In the kernel's ticks after boot. */
  readonly startTime: string;
}

/** A running QEMU system emulator that shows a UUID. */
export interface QemuProcess extends ProcessIdentity {
  readonly uuid: string;
  /** What `-name` says, without options; empty if it says nothing. */
  readonly name: string;
  /** Empty if it has none. */
  readonly pidFile: string;
}

/** True while that very process exists; one that has ended but was not reaped does not. */
export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  return (await startTimeOf(identity.pid)) === identity.startTime;
}

export async function identityOf(pid: number): Promise<ProcessIdentity | undefined> {
  const startTime = await startTimeOf(pid);
  return startTime === undefined ? undefined : { pid, startTime };
}

/** Ends that very process at once. Gone already is success. */
export async function kill(identity: ProcessIdentity): Promise<void> {
  if (!(await isAlive(identity))) return;
  try {
    process.kill(identity.pid, 'SIGKILL');
  } catch (fault) {
    if (!isErrno(fault, 'ESRCH')) throw fault;
  }
}

export async function runningQemus(): Promise<QemuProcess[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const seen = await Promise.all(pids.map(qemuProcess));
  return seen.filter((one) => one !== undefined);
}

async function qemuProcess(pid: number): Promise<QemuProcess | undefined> {
  const args = (await readProc(pid, 'cmdline'))?.split('\0') ?? [];
  if (!path.basename(args[0] ?? '').startsWith('qemu-system-')) return undefined;
  const identity = await identityOf(pid);
  const uuid = valueOf(args, '-uuid');
  if (!identity || uuid === '') return undefined;
  const name = valueOf(args, '-name').split(',')[0] ?? '';
  return { ...identity, uuid, name: name.replace(/^guest=/, ''), pidFile: valueOf(args, '-pidfile') };
}

function valueOf(args: readonly string[], option: string): string {
  const at = args.indexOf(option);
  return at < 0 ? '' : (args[at + 1] ?? '');
}

async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await readProc(pid, 'stat');
  // The second field is the program's name in parentheses, and may hold anything.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields?.[0];
  return state === 'Z' || state === 'X' ? undefined : fields?.[19];
}

/** Nothing if the process is not there; any other trouble is no proof of that, and thrown. */
async function readProc(pid: number, file: 'stat' | 'cmdline'): Promise<string | undefined> {
  try {
    return await readFile(`/proc/${pid}/${file}`, 'utf8');
  } catch (fault) {
    if (isErrno(fault, 'ENOENT') || isErrno(fault, 'ESRCH')) return undefined;
    throw fault;
  }
}
