import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { connectPlatform, readEndpoints } from '@nephos/client';
import { VmServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/vm';
import { freePort } from '@nephos/service/testing';
import { portCount, repository } from '../src/layout.ts';
import { portOwner } from '../src/processes.ts';

let data: string;
let portBase: number;
beforeAll(async () => {
  data = await mkdtemp(path.join(tmpdir(), 'nephos-launch-'));
  portBase = await freePort(portCount);
});
afterAll(() => rm(data, { recursive: true, force: true }));

interface Launch {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  output(): string;
  said(text: string): Promise<void>;
}

/** A launcher that is killed takes its services with it. */
const launched = new Set<Launch>();
afterEach(async () => {
  for (const { child, exited } of launched) {
    child.kill('SIGKILL');
    await exited;
  }
  launched.clear();
});

/** Several starts on a machine that is shared. */
const longest = 300_000;

function launch(...args: readonly string[]): Launch {
  const main = path.join(repository, 'deploy/local/src/main.ts');
  const all = [main, '--simulate', '--data', data, '--port-base', String(portBase), ...args];
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...all], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  let output = '';
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      for (const listener of listeners) listener();
    });
  }
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  const said = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const check = (): void => {
        if (output.includes(text)) resolve();
      };
      listeners.add(check);
      check();
      void exited.then(() => reject(new Error(`it ended without saying "${text}":\n${output}`)));
    });
  const launch = { child, exited, output: () => output, said };
  launched.add(launch);
  return launch;
}

async function vmNames(): Promise<string[]> {
  const { directory, nats } = readEndpoints(data) ?? { directory: '', nats: '' };
  await using platform = connectPlatform({ directory, nats, principal: 'tests' });
  const vms = await platform.client(VmServiceDefinition, 'orchestrator');
  return (await vms.listVms({})).vms.map(({ header }) => header?.name ?? '');
}

const untilStopped = 'Ctrl-C shuts the guests down';

describe('npm start', () => {
  test(
    'makes a VM, stays, stops in order; the next start finds the same and makes none',
    async () => {
      const first = launch();
      await first.said(untilStopped);
      expect(first.output()).toMatch(/event vm hello #1 created/);
      expect(first.output()).toMatch(/guest hello is up/);
      expect(first.output()).toMatch(/processes hold [\d.]+ MiB together/);
      const made = await vmNames();
      expect(made).toHaveLength(1);

      const rival = launch();
      expect(await rival.exited).toBe(1);
      expect(rival.output()).toContain(`is in use: Nephos runs on it already (process ${first.child.pid})`);

      // A terminal signals the group, and those above hand theirs on: the same Ctrl-C twice.
      first.child.kill('SIGINT');
      first.child.kill('SIGTERM');
      expect(await first.exited).toBe(0);
      expect(first.output()).toMatch(/ok nats-server +stopped/);
      expect(existsSync(path.join(data, 'endpoints.json'))).toBe(false);

      const second = launch();
      await second.said(untilStopped);
      expect(await vmNames()).toEqual(made);
      expect(second.output()).toMatch(/vm +hello is there/);

      process.kill(agentPid(), 'SIGKILL');
      await second.said('host-agent ended by itself (SIGKILL)');
      second.child.kill('SIGTERM');
      expect(await second.exited).toBe(0);
    },
    longest,
  );

  test(
    '--once takes it all back, each service in its own process as well',
    async () => {
      const once = launch('--once', '--isolate');
      expect(await once.exited).toBe(0);
      expect(once.output()).toMatch(/ok no claim +is left/);
      expect(once.output()).toContain('Every step was seen to work.');
      for (let port = portBase; port < portBase + portCount; port += 1)
        expect(portOwner(port)).toBeUndefined();
    },
    longest,
  );

  test('a port that is taken is told, with its owner, before anything is started', async () => {
    const server = createServer().listen(portBase + 3, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const hindered = launch('--once');
    expect(await hindered.exited).toBe(1);
    expect(hindered.output()).toContain(`port ${portBase + 3} is taken by process ${process.pid}`);
    await new Promise((resolve) => server.close(resolve));
  });

  test('wrong arguments are told with the usage', async () => {
    const wrong = launch('--quickly');
    expect(await wrong.exited).toBe(2);
    expect(wrong.output()).toMatch(/--quickly[\s\S]*Usage: npm start/);
  });
});

function agentPid(): number {
  const owner = portOwner(portBase + 5) ?? '';
  return Number(/process (\d+)/.exec(owner)?.[1] ?? Number.NaN);
}
