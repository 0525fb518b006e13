/** What /proc tells: who listens on a port, which guests run from a folder, how much memory processes take. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';

const listening = '0A';

/** The processes of this machine, as far as they may be seen. */
function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // Gone meanwhile, or not ours to see.
    return '';
  }
}

function commandOf(pid: number): string[] {
  return read(`/proc/${pid}/cmdline`).split('\0').filter(Boolean);
}

/** Who listens on a TCP port, for people; undefined when nobody does. */
export function portOwner(port: number): string | undefined {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const inodes = ['/proc/net/tcp', '/proc/net/tcp6']
    .flatMap((file) => read(file).split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = '', , state]) => state === listening && local.endsWith(suffix))
    .map((columns) => `socket:[${columns[9]}]`);
  if (inodes.length === 0) return undefined;
  const owner = pids().find((pid) => socketsOf(pid).some((socket) => inodes.includes(socket)));
  if (owner === undefined) return 'a process of another user';
  const words = commandOf(owner).filter((word) => !word.startsWith('-'));
  return `process ${owner} (${words
    .slice(0, 3)
    .map((word) => path.basename(word))
    .join(' ')})`;
}

function socketsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return '';
      }
    });
  } catch {
    return [];
  }
}

/** QEMU processes that have `text`, such as a folder or a VM's uid, in their command line. */
export function guestProcesses(text: string): number[] {
  return pids().filter((pid) => {
    const [program = '', ...args] = commandOf(pid);
    return program.includes('qemu-system-') && args.some((arg) => arg.includes(text));
  });
}

/** Proportional set size of the processes together, bytes; what is shared counts once between those who share it. */
export function proportionalMemory(processes: readonly number[]): number {
  const kibibytes = processes.map((pid) => {
    const match = /^Pss:\s+(\d+) kB/m.exec(read(`/proc/${pid}/smaps_rollup`));
    return Number(match?.[1] ?? 0);
  });
  return kibibytes.reduce((sum, each) => sum + each, 0) * 1024;
}
