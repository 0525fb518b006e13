/** More jobs than fit into memory, jobs that are old, logs that are long. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { defineJob, type JobContext } from '@nephos/jobs';
import { JobServiceDefinition, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Stack, submission, until } from './stack.ts';

interface World {
  readonly done: Set<string>;
}

const tick = defineJob({
  type: 'many.tick',
  version: 1,
  timeoutMs: 60_000,
  run: async (job: JobContext<{ readonly n: number }>, world: World) => {
    if (world.done.has(job.uid)) throw new Error('run twice');
    world.done.add(job.uid);
    await Promise.resolve();
  },
});

const chatty = defineJob({
  type: 'many.chatty',
  version: 1,
  timeoutMs: 60_000,
  run: async (job: JobContext<{ readonly lines: number }>) => {
    for (let n = 1; n <= job.input.lines; n += 1) job.annotate(`line ${n}`);
    await Promise.resolve();
  },
});

const parent = defineJob({
  type: 'many.parent',
  version: 1,
  timeoutMs: 60_000,
  run: async (job: JobContext<object>) => {
    await job.all([await job.child(tick, { n: 0 })]);
  },
});

let stack: Stack;
let world: World;

beforeEach(async () => {
  stack = await Stack.make();
  world = { done: new Set() };
});

afterEach(async () => {
  await stack[Symbol.asyncDispose]();
});

test('what does not fit into the window is read from the store, each job once', async () => {
  await stack.control({ NEPHOS_JOB_WINDOW: '64' });
  const { client } = await stack.worker();
  const submit = (n: number) => client.submit(tick, submission({ n }));
  const early = await Promise.all(Array.from({ length: 1500 }, (_, n) => submit(n)));
  await stack.worker({ jobs: [tick], deps: world, concurrency: 32 });
  const late = await Promise.all(Array.from({ length: 500 }, (_, n) => submit(n)));
  await until('all ran', () => world.done.size === 2000);
  for (const job of [...early.slice(-3), ...late.slice(-3)]) {
    expect((await client.finished(job.header?.uid ?? '')).state).toBe(JobState.SUCCEEDED);
  }
  const failed = await client.list({ filter: 'trouble = "FAILED"' });
  expect(failed.jobs).toEqual([]);
});

test('queued jobs survive a restart, more than fit into the window', async () => {
  await stack.control({ NEPHOS_JOB_WINDOW: '64' });
  const { client } = await stack.worker();
  await Promise.all(Array.from({ length: 700 }, (_, n) => client.submit(tick, submission({ n }))));
  await stack.restart({ NEPHOS_JOB_WINDOW: '64' });
  await stack.worker({ jobs: [tick], deps: world, concurrency: 32 });
  await until('all ran', () => world.done.size === 700);
});

test("a job's log keeps its latest lines, and is followed to its end", async () => {
  await stack.control();
  const worker = await stack.worker({ jobs: [chatty], deps: {} });
  const job = await worker.client.submit(chatty, submission({ lines: 600 }));
  const name = job.header?.name ?? '';
  await worker.client.finished(job.header?.uid ?? '');
  const service = worker.context.clients.of(JobServiceDefinition, stack.address);
  const followed: number[] = [];
  for await (const line of service.watchJobLog({ parent: name })) followed.push(line.number);
  const first = await service.listJobLogLines({ parent: name, pageSize: 450 });
  const second = await service.listJobLogLines({
    parent: name,
    pageSize: 450,
    pageToken: first.nextPageToken,
  });
  expect(second.nextPageToken).toBe('');
  const lines = [...first.jobLogLines, ...second.jobLogLines];
  expect(lines).toHaveLength(500);
  expect(lines.at(-1)?.text).toBe('line 600');
  expect(followed).toEqual(lines.map(({ number }) => number));
});

test('finished jobs go after their retention, whole trees at a time', async () => {
  await stack.control({ NEPHOS_JOB_RETENTION: '1s', NEPHOS_JOB_SWEEP: '100ms' });
  const { client } = await stack.worker({ jobs: [parent, tick], deps: world });
  const stays = await client.submit(chatty, submission({ lines: 1 }));
  const job = await client.submit(parent, submission({}));
  const over = await client.finished(job.header?.uid ?? '');
  const [child = ''] = over.children;
  expect(child).not.toBe('');
  await until('the tree is gone', async () => {
    const { jobs } = await client.list();
    return jobs.length === 1;
  });
  expect((await client.get(stays.header?.uid ?? '')).state).toBe(JobState.QUEUED);
  await expect(client.get(child.slice('jobs/'.length))).rejects.toMatchObject({ kind: 'not-found' });
});
