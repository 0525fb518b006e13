/** Jobs that start jobs: suspension without an executor, results, failures, cancellation down the tree. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { defineJob, type JobContext } from '@nephos/jobs';
import { JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Precondition } from '@nephos/service';
import { Gate, Stack, submission, until, type Worker } from './stack.ts';

interface World {
  readonly done: string[];
  readonly gates: Map<string, Gate>;
}

const leaf = defineJob({
  type: 'tree.leaf',
  version: 1,
  timeoutMs: 60_000,
  retry: { attempts: 1 },
  async run(job: JobContext<{ readonly name: string; readonly fails?: boolean }>, world: World) {
    const { name, fails } = job.input;
    return await job.step(
      'work',
      async ({ signal }) => {
        world.done.push(name);
        await world.gates.get(name)?.pass(signal);
        if (fails === true) throw new Precondition('STATE_FORBIDS', `${name} is refused`);
        return name.toUpperCase();
      },
      {
        undo: async () => {
          world.done.push(`undo ${name}`);
          await Promise.resolve();
        },
      },
    );
  },
});

interface Leaves {
  readonly leaves: { readonly name: string; readonly fails?: boolean }[];
  readonly unawaited?: boolean;
}

const branch = defineJob({
  type: 'tree.branch',
  version: 1,
  timeoutMs: 60_000,
  retry: { attempts: 1 },
  async run(job: JobContext<Leaves>, world: World) {
    await job.step(
      'root',
      async () => {
        world.done.push('root');
      },
      {
        undo: async () => {
          world.done.push('undo root');
          await Promise.resolve();
        },
      },
    );
    const children = [];
    for (const input of job.input.leaves) children.push(await job.child(leaf, input));
    if (job.input.unawaited === true) return 'left';
    const results = await job.all(children);
    return await job.step('join', async () => results.join('+'));
  },
});

let stack: Stack;
let world: World;
let worker: Worker;

beforeEach(async () => {
  stack = await Stack.make();
  world = { done: [], gates: new Map() };
  await stack.control();
  // One at a time: a parent that kept its place while it waits would never see its children run.
  worker = await stack.worker({ jobs: [leaf, branch], deps: world, concurrency: 1 });
});

afterEach(async () => {
  await stack[Symbol.asyncDispose]();
});

async function submit(input: Leaves): Promise<string> {
  const job = await worker.client.submit(branch, submission(input));
  return job.header?.uid ?? '';
}

test('a parent sleeps until all its children are over, then has their results', async () => {
  const gate = new Gate();
  world.gates.set('b', gate);
  const uid = await submit({ leaves: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] });
  await gate.reached;
  const asleep = await worker.client.get(uid);
  expect(asleep).toMatchObject({ state: JobState.SUSPENDED, executor: '' });
  expect(asleep.children).toHaveLength(3);
  expect(asleep.waits.length).toBeGreaterThanOrEqual(2);
  gate.open();
  const job = await worker.client.finished(uid);
  expect(job).toMatchObject({ state: JobState.SUCCEEDED, result: 'A+B+C' });
  expect(world.done).toEqual(['root', 'a', 'b', 'c']);
  const tree = await worker.client.list({ filter: `root = "jobs/${uid}"` });
  expect(tree.jobs).toHaveLength(4);
  expect(tree.jobs.filter(({ parent }) => parent === `jobs/${uid}`)).toHaveLength(3);
  const byParent = await worker.client.list({ filter: `parent = "jobs/${uid}" AND root = "jobs/${uid}"` });
  expect(byParent.jobs).toHaveLength(3);
});

test('a child that fails fails its parent, which unwinds', async () => {
  const uid = await submit({ leaves: [{ name: 'a' }, { name: 'b', fails: true }] });
  const job = await worker.client.finished(uid);
  expect(job.state).toBe(JobState.FAILED);
  expect(job.error?.message).toContain('b is refused');
  expect(world.done).toEqual(['root', 'a', 'b', 'undo b', 'undo root']);
});

test('a job is over only when its children are, waited for or not', async () => {
  const gate = new Gate();
  world.gates.set('a', gate);
  const uid = await submit({ leaves: [{ name: 'a' }], unawaited: true });
  await gate.reached;
  await until('it sleeps', async () => (await worker.client.get(uid)).state === JobState.SUSPENDED);
  gate.open();
  const job = await worker.client.finished(uid);
  expect(job).toMatchObject({ state: JobState.SUCCEEDED, result: 'left' });
});

test('cancelling a parent cancels its children first', async () => {
  const gate = new Gate();
  world.gates.set('a', gate);
  const uid = await submit({ leaves: [{ name: 'a' }, { name: 'never' }] });
  await gate.reached;
  await worker.client.cancel(uid);
  const job = await worker.client.finished(uid);
  expect(job.state).toBe(JobState.CANCELLED);
  expect(world.done).toEqual(['root', 'a', 'undo a', 'undo root']);
  const { jobs } = await worker.client.list({ filter: `root = "jobs/${uid}"` });
  expect(jobs.map(({ state }) => state)).toEqual([
    JobState.CANCELLED,
    JobState.CANCELLED,
    JobState.CANCELLED,
  ]);
});

test('a sleeping parent survives a restart of job control, and is woken by what happened', async () => {
  const gate = new Gate();
  world.gates.set('a', gate);
  const uid = await submit({ leaves: [{ name: 'a' }, { name: 'b' }] });
  await gate.reached;
  await until('it sleeps', async () => (await worker.client.get(uid)).state === JobState.SUSPENDED);
  await stack.restart();
  gate.open();
  const job = await worker.client.finished(uid);
  expect(job).toMatchObject({ state: JobState.SUCCEEDED, result: 'A+B' });
  expect(world.done).toEqual(['root', 'a', 'b']);
});

test('a sleeping parent times out: its children are cancelled, then it unwinds', async () => {
  const gate = new Gate();
  world.gates.set('a', gate);
  const impatient = defineJob({
    ...branch,
    timeoutMs: 400,
    run: (job: JobContext<Leaves>, deps: World) => branch.run(job, deps),
  });
  const submitted = await worker.client.submit(impatient, submission({ leaves: [{ name: 'a' }] }));
  const job = await worker.client.finished(submitted.header?.uid ?? '');
  expect(job.state).toBe(JobState.FAILED);
  expect(job.error?.message).toBe('the job took longer than 400 ms');
  expect(world.done).toEqual(['root', 'a', 'undo a', 'undo root']);
});
