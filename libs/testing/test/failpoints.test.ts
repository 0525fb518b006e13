/** Failpoint control over real processes: which pass a rule means, what it does, and that every pass is on record. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { FailpointControl } from '../src/index.ts';

let folder: string;
let control: FailpointControl;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-failpoints-'));
  control = await FailpointControl.listen(path.join(folder, 'socket'));
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

/** A program that passes three points and says what became of each. */
function start(): { child: ChildProcess; said: Promise<string> } {
  const program = path.join(import.meta.dirname, 'failpoint-process.ts');
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, control.path], {
    env: { ...process.env, NODE_COMPILE_CACHE: path.resolve(import.meta.dirname, '../../../.cache/compile') },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (piece: string) => (text += piece));
  return { child, said: once(child, 'close').then(() => text.trim()) };
}

test('without rules every pass goes on and is on record', async () => {
  expect(await start().said).toBe('1 passed,2 passed,3 passed');
  expect(control.hits.map(({ point, facts, service }) => [point, facts['step'], service])).toEqual(
    [1, 2, 3].map((step) => ['walk', step, 'walker']),
  );
});

test('an error at the second pass alone, by its number or by its facts', async () => {
  control.add({ point: 'walk', nth: 2, action: 'error' });
  expect(await start().said).toBe('1 passed,2 failed,3 passed');
  control.reset();
  control.add({ point: 'walk', facts: { step: 3 }, action: 'error' });
  expect(await start().said).toBe('1 passed,2 passed,3 failed');
});

test('killed at a pass: SIGKILL, and nothing after it', async () => {
  control.add({ point: 'walk', nth: 2, action: 'kill' });
  const { child, said } = start();
  await said;
  expect(child.signalCode).toBe('SIGKILL');
  expect(control.hits).toHaveLength(2);
});

test('a rule may do things before it lets go', async () => {
  const seen: number[] = [];
  control.add({
    point: 'walk',
    action: async ({ facts }) => {
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(Number(facts['step']));
      return 'go' as const;
    },
  });
  expect(await start().said).toBe('1 passed,2 passed,3 passed');
  expect(seen).toEqual([1, 2, 3]);
});

test('whoever hangs is let go when control is gone', async () => {
  control.add({ point: 'walk', nth: 3, action: () => new Promise(() => {}) });
  const { said } = start();
  while (control.hits.length < 3) await new Promise((resolve) => setImmediate(resolve));
  await control[Symbol.asyncDispose]();
  expect(await said).toBe('1 passed,2 passed,3 passed');
});
