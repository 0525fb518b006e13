/**
 * etcd of Debian on loopback: installed where it is missing and this is root, else said aloud. Started on free
 * ports in a temporary folder, ended with the bench.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '@nephos/service/testing';
import { searchPath } from '../machine.ts';
import { say } from '../report.ts';
import { Etcd } from './etcd-client.ts';

const run = promisify(execFile);

export interface EtcdServer extends AsyncDisposable {
  readonly target: string;
  readonly pid: number;
}

/** Throws with what to do where etcd is not there and cannot be had. */
export async function ensureEtcd(): Promise<void> {
  if (await hasEtcd()) return;
  const install = 'apt-get install etcd-server';
  if (process.getuid?.() !== 0) throw new Error(`etcd is not here; as root: ${install}`);
  say(`etcd is not here: ${install}`);
  // Debian's package starts a server of its own at once; where services run, it is told not to.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  await run('apt-get', ['install', '-y', '-q', 'etcd-server'], { env });
  if (!(await hasEtcd())) throw new Error(`${install} gave no etcd`);
}

async function hasEtcd(): Promise<boolean> {
  try {
    await run('etcd', ['--version'], { env: { ...process.env, PATH: searchPath } });
    return true;
  } catch {
    return false;
  }
}

export async function startEtcd(): Promise<EtcdServer> {
  await ensureEtcd();
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-etcd-'));
  const [client, peer] = [await freePort(), await freePort()];
  const [clientUrl, peerUrl] = [`http://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`];
  const child = spawn(
    'etcd',
    [
      ['--data-dir', folder],
      ['--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
      ['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
      ['--initial-cluster', `default=${peerUrl}`, '--log-level', 'error'],
    ].flat(),
    { stdio: 'ignore', env: { ...process.env, PATH: searchPath } },
  );
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const target = `127.0.0.1:${client}`;
  await untilReady(target, child);
  return {
    target,
    pid: child.pid ?? -1,
    async [Symbol.asyncDispose]() {
      process.off('exit', kill);
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function untilReady(target: string, child: ChildProcess): Promise<void> {
  const etcd = new Etcd(target);
  try {
    for (;;) {
      if (child.exitCode !== null) throw new Error(`etcd ended with ${child.exitCode}`);
      try {
        return await etcd.ready();
      } catch {
        await pause(100);
      }
    }
  } finally {
    etcd.close();
  }
}
