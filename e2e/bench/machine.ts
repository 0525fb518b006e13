/** What the figures were measured on, and the processor time of processes that are not ours to ask. Linux. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** One line each: date, machine, load, versions. */
export async function machineLines(programs: readonly string[]): Promise<string[]> {
  const [{ model } = { model: 'unknown processor' }] = os.cpus();
  const load = os.loadavg().map((value) => value.toFixed(2));
  const versions = await Promise.all(programs.map(versionOf));
  return [
    new Date().toISOString(),
    `${os.availableParallelism()} processors (${model}), ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${os.type()} ${os.release()}`,
    `load average ${load.join(' ')}`,
    [`node ${process.versions.node}`, ...versions].join(', '),
  ];
}

/** Debian keeps servers in /usr/sbin, which is not on every PATH. */
export const searchPath = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin`;

async function versionOf(program: string): Promise<string> {
  try {
    const { stdout } = await run(program, ['--version'], { env: { ...process.env, PATH: searchPath } });
    const [first = ''] = stdout.split('\n');
    return first.includes(program.split('-')[0] ?? program) ? first : `${program} ${first}`;
  } catch {
    return `no ${program}`;
  }
}

/** Processor time of a process so far, microseconds, over the threads that it has. */
export function cpuOf(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  const nanoseconds = readdirSync(tasks).map((task) => {
    const [ran = '0'] = readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ');
    return Number(ran);
  });
  return nanoseconds.reduce((sum, each) => sum + each, 0) / 1000;
}

/** Memory that a process has resident, MiB. */
export function residentMiB(pid: number): number {
  const [, kib = '0'] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}
