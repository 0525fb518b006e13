/**
 * Spawns QEMU so that it outlives the agent: a session of its own, its words in a file, nothing inherited.
 * Only the pid file's lock decides: a second QEMU for the same machine ends by itself.
 */
import { spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { Unavailable } from '@nephos/service';
import { identityOf, type ProcessIdentity } from './processes.ts';

export interface Launched {
  readonly process: ProcessIdentity;
  /** How it ended, e.g. `signal SIGKILL` or `exit code 1`; the agent that spawned it sees that, no later one. */
  readonly exit: Promise<string>;
}

const longestLastWords = 2000;

export async function launch(binary: string, args: readonly string[], logFile: string): Promise<Launched> {
  await using log = await open(logFile, 'a', 0o600);
  const child = spawn(binary, args, {
    cwd: '/',
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
    env: { PATH: process.env['PATH'], LC_ALL: 'C' },
  });
  const exit = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`));
  });
  await new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  }).catch((cause: unknown) => {
    throw new Unavailable('HYPERVISOR_FAILED', `${binary} could not be run.`, { cause });
  });
  child.unref();
  const identity = await identityOf(child.pid ?? 0);
  if (!identity)
    throw new Unavailable('HYPERVISOR_FAILED', `QEMU ended at once: ${await lastWords(logFile)}`);
  return { process: identity, exit };
}

/** What QEMU said last, for people. */
export async function lastWords(logFile: string): Promise<string> {
  const text = await readFile(logFile, 'utf8').catch(() => '');
  return text.slice(-longestLastWords).trim().split('\n').slice(-3).join(' ');
}
