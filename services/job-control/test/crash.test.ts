/** Real processes, really killed: no job is lost, no step on record runs again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { defineJob } from '@nephos/jobs';
import { type Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Stack, submission, until, type Worker } from './stack.ts';

/** As in crash-worker-process.ts; here it is only submitted. */
const march = defineJob<{ pauseMs: number }, string>({
  type: 'crash.march',
  version: 1,
  timeoutMs: 120_000,
  events: 'none',
  run: () => Promise.reject(new Error('not here')),
});
const steps = 6;

interface Line {
  readonly job: string;
  readonly step: number;
  readonly by: string;
}

let stack: Stack;
let worker: Worker;
let file: string;
const processes = new Set<ChildProcess>();

function start(script: string, args: string[], env: Record<string, string> = {}): ChildProcess {
  const child = spawn(process.execPath, [path.join(import.meta.dirname, script), ...args], {
    env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'], ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  processes.add(child);
  return child;
}

const startControl = (): ChildProcess => start('../src/main.ts', [], { ...stack.env });
const startWorker = (name: string): ChildProcess =>
  start('crash-worker-process.ts', [stack.address, file, name]);

async function kill(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  processes.delete(child);
}

async function lines(): Promise<Line[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

async function submitMany(count: number, pauseMs: number): Promise<string[]> {
  const jobs = await Promise.all(
    Array.from({ length: count }, () => worker.client.submit(march, submission({ pauseMs }))),
  );
  return jobs.map(({ header }) => header?.uid ?? '');
}

async function finished(uids: readonly string[]): Promise<Job[]> {
  return await Promise.all(uids.map((uid) => worker.client.finished(uid)));
}

/** A step begins only once the one before is on record: so no step ever comes after a later one. */
function expectNoneAfterItsRecord(found: readonly Line[]): void {
  const highest = new Map<string, number>();
  for (const { job, step } of found) {
    expect(step).toBeGreaterThanOrEqual(highest.get(job) ?? 0);
    highest.set(job, step);
  }
}

beforeEach(async () => {
  stack = await Stack.make();
  file = path.join(stack.data, 'lines');
  worker = await stack.worker();
});

afterEach(async () => {
  for (const child of processes) await kill(child);
  await stack[Symbol.asyncDispose]();
});

test('job control killed again and again: executors keep their jobs, each step runs once', async () => {
  let control = startControl();
  startWorker('only');
  const uids = await submitMany(40, 30);
  for (let round = 1; round <= 3; round += 1) {
    await until('some progress', async () => (await lines()).length >= round * 40);
    await kill(control);
    control = startControl();
  }
  const jobs = await finished(uids);
  expect(jobs.map(({ state }) => state)).toEqual(uids.map(() => JobState.SUCCEEDED));
  const found = await lines();
  expectNoneAfterItsRecord(found);
  const runs = new Map<string, number>();
  for (const { job, step } of found) runs.set(`${job}/${step}`, (runs.get(`${job}/${step}`) ?? 0) + 1);
  expect(runs.size).toBe(40 * steps);
  expect([...runs.values()].filter((count) => count > 1)).toEqual([]);
});

test('executors killed in the middle: others go on from what is on record', async () => {
  startControl();
  const uids = await submitMany(40, 30);
  for (let round = 1; round <= 3; round += 1) {
    const victim = startWorker(`victim-${round}`);
    await until('the victim works', async () => (await lines()).some(({ by }) => by === `victim-${round}`));
    await kill(victim);
  }
  startWorker('heir');
  const jobs = await finished(uids);
  expect(jobs.map(({ state }) => state)).toEqual(uids.map(() => JobState.SUCCEEDED));
  for (const job of jobs) expect(job.steps.map(({ result }) => result)).toEqual([0, 1, 2, 3, 4, 5]);
  expectNoneAfterItsRecord(await lines());
});

test('both killed at once: what was submitted is done', async () => {
  const control = startControl();
  const victim = startWorker('victim');
  const uids = await submitMany(20, 30);
  await until('some progress', async () => (await lines()).length >= 30);
  await Promise.all([kill(control), kill(victim)]);
  startControl();
  startWorker('heir');
  const jobs = await finished(uids);
  expect(jobs.map(({ state }) => state)).toEqual(uids.map(() => JobState.SUCCEEDED));
  expectNoneAfterItsRecord(await lines());
});

test('an executor that was only asleep finishes nothing, and runs no further step', async () => {
  startControl();
  const sleeper = startWorker('sleeper');
  const [uid = ''] = await submitMany(1, 300);
  await until('it works', async () => (await lines()).length >= 2);
  sleeper.kill('SIGSTOP');
  const heir = startWorker('heir');
  const job = await worker.client.finished(uid);
  expect(job).toMatchObject({ state: JobState.SUCCEEDED, result: 'heir' });
  const before = (await lines()).length;
  sleeper.kill('SIGCONT');
  await kill(heir);
  // Whatever the sleeper still had to say about the old job, it said before it got another.
  const [next = ''] = await submitMany(1, 0);
  expect((await worker.client.finished(next)).result).toBe('sleeper');
  const mine = (await lines()).filter((line) => line.job === uid);
  expect(mine.length).toBeLessThanOrEqual(before);
  expectNoneAfterItsRecord(mine);
  expect((await worker.client.get(uid)).result).toBe('heir');
});
