/** What is undone, in which order, after which error; and what parks a job until a person decides. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { defineJob, type JobContext } from '@nephos/jobs';
import { type Job, JobBlockReason, JobState, JobStepState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Precondition, Unavailable } from '@nephos/service';
import { Gate, Stack, submission, until, type Worker } from './stack.ts';

interface World {
  readonly done: string[];
  gate: Gate;
  /** Undos that fail while they are in here. */
  readonly broken: Set<string>;
}

type Job3 = JobContext<{ readonly fail?: string }>;

async function threeSteps(job: Job3, world: World): Promise<string> {
  for (const name of ['one', 'two', 'three']) {
    await job.step(
      name,
      async ({ signal }) => {
        world.done.push(name);
        if (job.input.fail === name) throw new Precondition('STATE_FORBIDS', `${name} is refused`);
        if (name === 'three') await world.gate.pass(signal);
        return `made ${name}`;
      },
      {
        input: { name },
        undo: async (input: { name: string }, result: string | undefined) => {
          if (world.broken.has(name))
            throw new Unavailable('SERVICE_UNAVAILABLE', `${name} cannot be undone`);
          world.done.push(`undo ${input.name} (${result ?? 'nothing'})`);
          await Promise.resolve();
        },
      },
    );
  }
  return 'all three';
}

const three = (version: number, run = threeSteps) =>
  defineJob({ type: 'world.three', version, timeoutMs: 60_000, retry: { attempts: 2, backoffMs: 5 }, run });

const hasty = defineJob({
  type: 'world.hasty',
  version: 1,
  timeoutMs: 300,
  retry: { attempts: 1 },
  run: threeSteps,
});

let stack: Stack;
let world: World;
let worker: Worker;

beforeEach(async () => {
  stack = await Stack.make();
  world = { done: [], gate: new Gate(), broken: new Set() };
  await stack.control();
  worker = await stack.worker({ jobs: [three(1), hasty], deps: world });
});

afterEach(async () => {
  await stack[Symbol.asyncDispose]();
});

async function submit(input: { fail?: string }, definition = three(1)): Promise<string> {
  const job = await worker.client.submit(definition, submission(input));
  return job.header?.uid ?? '';
}

async function untilState(uid: string, state: JobState): Promise<Job> {
  await until(`state ${state}`, async () => (await worker.client.get(uid)).state === state);
  return await worker.client.get(uid);
}

test('a refused step unwinds those before it, itself included, last first', async () => {
  const uid = await submit({ fail: 'three' });
  const job = await worker.client.finished(uid);
  expect(job.state).toBe(JobState.FAILED);
  expect(job.error?.message).toBe('three is refused');
  expect(world.done).toEqual([
    'one',
    'two',
    'three',
    'undo three (nothing)',
    'undo two (made two)',
    'undo one (made one)',
  ]);
  expect(job.steps.map(({ name, state }) => [name, state])).toEqual([
    ['one', JobStepState.UNDONE],
    ['two', JobStepState.UNDONE],
    ['three', JobStepState.UNDONE],
  ]);
});

test('cancelling a running job aborts its step and unwinds', async () => {
  const uid = await submit({});
  await world.gate.reached;
  const asked = await worker.client.cancel(uid);
  expect(asked.cancelRequested).toBe(true);
  const job = await worker.client.finished(uid);
  expect(job.state).toBe(JobState.CANCELLED);
  expect(world.done.slice(3)).toEqual(['undo three (nothing)', 'undo two (made two)', 'undo one (made one)']);
  expect((await worker.client.cancel(uid)).state).toBe(JobState.CANCELLED);
});

test('a job that nobody has taken is cancelled at once', async () => {
  const nobody = defineJob({ type: 'world.nobody', version: 1, timeoutMs: 1000, run: async () => {} });
  const job = await worker.client.submit(nobody, submission({}));
  const cancelled = await worker.client.cancel(job.header?.uid ?? '');
  expect(cancelled.state).toBe(JobState.CANCELLED);
  expect(world.done).toEqual([]);
});

test('a job that takes too long is stopped, undone and failed', async () => {
  const uid = await submit({}, hasty);
  const job = await worker.client.finished(uid);
  expect(job.state).toBe(JobState.FAILED);
  expect(job.error?.message).toBe('the job took longer than 300 ms');
  expect(world.done.slice(3)).toEqual(['undo three (nothing)', 'undo two (made two)', 'undo one (made one)']);
});

describe('an undo that keeps failing parks the job', () => {
  beforeEach(() => {
    world.broken.add('two');
  });

  async function parked(): Promise<string> {
    const uid = await submit({ fail: 'three' });
    const job = await untilState(uid, JobState.BLOCKED);
    expect(job.block).toMatchObject({ reason: JobBlockReason.UNDO_FAILED });
    expect(job.block?.message).toContain('two cannot be undone');
    const { jobs } = await worker.client.list({ filter: 'state = "BLOCKED"' });
    expect(jobs.map(({ header }) => header?.uid)).toEqual([uid]);
    return uid;
  }

  test('and resuming goes on with what is left', async () => {
    const uid = await parked();
    world.broken.clear();
    world.done.length = 0;
    await worker.client.resume(uid);
    const job = await worker.client.finished(uid);
    expect(job.state).toBe(JobState.FAILED);
    expect(job.error?.message).toBe('three is refused');
    expect(world.done).toEqual(['undo two (made two)', 'undo one (made one)']);
  });

  test('and unwinding without that step ends it', async () => {
    const uid = await parked();
    world.done.length = 0;
    await worker.client.unwind(uid, ['two']);
    const job = await worker.client.finished(uid);
    expect(job.state).toBe(JobState.FAILED);
    expect(world.done).toEqual(['undo one (made one)']);
  });
});

test('resume and unwind refuse a job that is not blocked', async () => {
  const uid = await submit({});
  await world.gate.reached;
  await expect(worker.client.resume(uid)).rejects.toMatchObject({
    kind: 'precondition',
    reason: 'STATE_FORBIDS',
  });
  await expect(worker.client.unwind(uid)).rejects.toMatchObject({ kind: 'precondition' });
  world.gate.open();
  await worker.client.finished(uid);
});

describe('a definition that changed under a job with steps on record', () => {
  /** A job with `one` and `two` on record that no executor holds any more. */
  async function interrupted(): Promise<string> {
    const uid = await submit({});
    await world.gate.reached;
    await stack.stop(worker.running);
    world.done.length = 0;
    world.gate = new Gate();
    world.gate.open();
    return uid;
  }

  test('parks it when the version differs; resumed, it goes on under the new one', async () => {
    const uid = await interrupted();
    worker = await stack.worker({ jobs: [three(2)], deps: world });
    const job = await untilState(uid, JobState.BLOCKED);
    expect(job.block?.reason).toBe(JobBlockReason.VERSION_MISMATCH);
    expect(world.done).toEqual([]);
    await worker.client.resume(uid);
    const over = await worker.client.finished(uid);
    expect(over).toMatchObject({ state: JobState.SUCCEEDED, result: 'all three', definitionVersion: 2 });
    expect(world.done).toEqual(['three']);
  });

  test('parks it when it asks for other steps; unwound, what the definition knows is undone', async () => {
    const uid = await interrupted();
    const other = three(1, async (job, deps) => {
      await job.step('zero', async () => {
        deps.done.push('zero');
      });
      return await threeSteps(job, deps);
    });
    worker = await stack.worker({ jobs: [other], deps: world });
    const job = await untilState(uid, JobState.BLOCKED);
    expect(job.block?.reason).toBe(JobBlockReason.STEP_MISMATCH);
    expect(world.done).toEqual([]);
    await stack.stop(worker.running);
    worker = await stack.worker({ jobs: [three(1)], deps: world });
    await worker.client.unwind(uid);
    const over = await worker.client.finished(uid);
    expect(over.state).toBe(JobState.FAILED);
    expect(over.error?.message).toContain('unwound by hand');
    expect(world.done).toEqual(['undo three (nothing)', 'undo two (made two)', 'undo one (made one)']);
  });

  test('goes on without a word when nothing changed, running no step twice', async () => {
    const uid = await interrupted();
    worker = await stack.worker({ jobs: [three(1)], deps: world });
    const over = await worker.client.finished(uid);
    expect(over.state).toBe(JobState.SUCCEEDED);
    expect(world.done).toEqual(['three']);
  });
});
