/** Values that are each small enough and together too large for one message: nothing of it breaks a stream. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { defineJob, type JobContext } from '@nephos/jobs';
import { JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Stack, submission, type Worker } from './stack.ts';

/** Short of the 256 KiB that one value may have. */
const big = 'x'.repeat(250_000);

const echo = defineJob({
  type: 'large.echo',
  version: 1,
  timeoutMs: 60_000,
  retry: { attempts: 1 },
  run: (job: JobContext<{ readonly text: string }>) => Promise.resolve(job.input.text),
});

const steps = defineJob({
  type: 'large.steps',
  version: 1,
  timeoutMs: 60_000,
  retry: { attempts: 1 },
  async run(job: JobContext<{ readonly count: number }>, undone: string[]) {
    for (let n = 0; n < job.input.count; n += 1) {
      await job.step(`step-${n}`, () => Promise.resolve(big), {
        undo: async (_input, result) => {
          undone.push(`${n}: ${result === undefined ? 'may have started' : 'done'}`);
          await Promise.resolve();
        },
      });
    }
  },
});

const parent = defineJob({
  type: 'large.parent',
  version: 1,
  timeoutMs: 60_000,
  retry: { attempts: 1 },
  async run(job: JobContext<{ readonly children: number; readonly repeat: number }>) {
    const text = big.repeat(job.input.repeat);
    const started = Array.from({ length: job.input.children }, (_, n) => `${n}`.padStart(12, '0'));
    const children = await Promise.all(
      started.map((end) => job.child(echo, { text }, { uid: `${job.uid.slice(0, 24)}${end}` })),
    );
    await job.all(children);
  },
});

const circular = defineJob({
  type: 'large.circular',
  version: 1,
  timeoutMs: 60_000,
  retry: { attempts: 1 },
  async run(job: JobContext<object>, undone: string[]) {
    const input: { self?: unknown } = {};
    input.self = input;
    const undo = async () => {
      undone.push('circular');
      await Promise.resolve();
    };
    await job.step('made', () => Promise.resolve('made'), { input, undo });
  },
});

let stack: Stack;
let worker: Worker;
const undone: string[] = [];

beforeAll(async () => {
  stack = await Stack.make();
  await stack.control();
  worker = await stack.worker({ jobs: [echo, steps, parent, circular], deps: undone });
});

afterAll(async () => {
  await stack[Symbol.asyncDispose]();
});

test('many large submissions at once filled a frame that no server takes in, for ever', async () => {
  const { client } = worker;
  const submissions = Array.from({ length: 24 }, () => submission({ text: big }));
  const jobs = await Promise.all(submissions.map((one) => client.submit(echo, one)));
  expect(jobs).toHaveLength(24);
  // The reports of their ends come together too.
  const ends = await Promise.all(submissions.map(({ uid }) => client.finished(uid)));
  expect(ends.every(({ state }) => state === JobState.SUCCEEDED)).toBe(true);
});

test('a child with too large an input broke the stream of its executor each time it was told of', async () => {
  const job = submission({ children: 1, repeat: 20 });
  await worker.client.submit(parent, job);
  const ended = await worker.client.finished(job.uid);
  expect(ended).toMatchObject({ state: JobState.FAILED, children: [] });
  expect(ended.error?.message).toMatch(/256 KiB/);
});

test('children whose results fit no answer together fail their parent instead of its stream', async () => {
  const job = submission({ children: 20, repeat: 1 });
  await worker.client.submit(parent, job);
  const ended = await worker.client.finished(job.uid);
  expect(ended.state).toBe(JobState.FAILED);
  expect(ended.error?.message).toMatch(/results of its children are larger/);
});

test('steps that outgrow the record fail the job, which is undone', async () => {
  const job = submission({ count: 40 });
  await worker.client.submit(steps, job);
  const ended = await worker.client.finished(job.uid);
  expect(ended.state).toBe(JobState.FAILED);
  expect(ended.error?.message).toMatch(/inputs and results of its steps are larger/);
  expect(undone.slice(0, 2)).toEqual(['8: may have started', '7: done']);
  expect(undone).toHaveLength(9);
});

test('a step whose input cannot be recorded ran, and its unwinding broke for ever', async () => {
  undone.length = 0;
  const job = submission({});
  await worker.client.submit(circular, job);
  const ended = await worker.client.finished(job.uid);
  expect(ended.state).toBe(JobState.FAILED);
  expect(ended.error?.message).toMatch(/not JSON data/);
  expect(undone).toEqual([]);
});
