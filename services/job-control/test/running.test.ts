/** Jobs from submission to their end: steps, results, retries, listing, operations. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { defineJob, type JobContext } from '@nephos/jobs';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { Struct } from '@nephos/proto/google/protobuf/struct';
import { JobServiceDefinition, JobState, JobStepState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Invalid, newUid, Unavailable } from '@nephos/service';
import { Stack, submission, until, type Worker } from './stack.ts';

interface Counter {
  runs: number;
  steps: string[];
}

const add = defineJob({
  type: 'sum.add',
  version: 3,
  timeoutMs: 60_000,
  async run(job: JobContext<{ readonly numbers: number[] }>, counter: Counter) {
    counter.runs += 1;
    const sum = await job.step('sum', async () => job.input.numbers.reduce((a, b) => a + b, 0), {
      input: { numbers: job.input.numbers },
    });
    job.progress(50, 'summed');
    job.annotate(`the sum is ${sum}`);
    await job.step('note', async ({ id }) => {
      counter.steps.push(id);
    });
    return { sum };
  },
});

const flaky = defineJob({
  type: 'sum.flaky',
  version: 1,
  timeoutMs: 60_000,
  retry: { attempts: 3, backoffMs: 10 },
  async run(job: JobContext<{ readonly failures: number }>, counter: Counter) {
    await job.step('first', async () => {
      counter.steps.push('first');
    });
    return await job.step('second', async () => {
      counter.runs += 1;
      if (counter.runs <= job.input.failures) throw new Unavailable('SERVICE_UNAVAILABLE', 'not yet');
      return counter.runs;
    });
  },
});

let stack: Stack;
let worker: Worker;
const counter: Counter = { runs: 0, steps: [] };

beforeAll(async () => {
  stack = await Stack.make();
  await stack.control();
  worker = await stack.worker({ jobs: [add, flaky], deps: counter });
});

afterAll(async () => {
  await stack[Symbol.asyncDispose]();
});

const jobService = () => worker.context.clients.of(JobServiceDefinition, stack.address);

test('a job runs its steps and gives its result', async () => {
  const { client } = worker;
  const submitted = await client.submit(add, submission({ numbers: [1, 2, 3] }, { target: 'vms/x' }));
  expect(submitted.state).toBe(JobState.QUEUED);
  const uid = submitted.header?.uid ?? '';
  const job = await client.finished(uid);
  expect(job).toMatchObject({
    state: JobState.SUCCEEDED,
    result: { sum: 6 },
    type: 'sum.add',
    definitionVersion: 3,
    target: 'vms/x',
    root: `jobs/${uid}`,
    progress: { percent: 50, message: 'summed' },
    error: undefined,
  });
  expect(job.steps.map(({ name, state, result }) => [name, state, result])).toEqual([
    ['sum', JobStepState.SUCCEEDED, 6],
    ['note', JobStepState.SUCCEEDED, undefined],
  ]);
  expect(job.steps[0]?.input).toEqual({ numbers: [1, 2, 3] });
  expect(counter.steps).toContain(`${uid}/note`);
  expect(job.startTime?.getTime()).toBeLessThanOrEqual(job.endTime?.getTime() ?? 0);
  const { jobLogLines } = await jobService().listJobLogLines({ parent: `jobs/${uid}` });
  expect(jobLogLines).toMatchObject([{ number: 1, text: 'the sum is 6', step: 'sum', root: `jobs/${uid}` }]);
});

test('the same uid fifty times at once is one job', async () => {
  const uid = newUid();
  const before = counter.runs;
  const other = await stack.worker();
  const service = other.context.clients.of(JobServiceDefinition, stack.address);
  const raw = {
    uid,
    type: 'sum.add',
    definitionVersion: 3,
    owner: 'tests',
    input: { numbers: [20, 22] },
  };
  const answers = await Promise.all([
    ...Array.from({ length: 25 }, () =>
      worker.client.submit(add, submission({ numbers: [20, 22] }, { uid })),
    ),
    ...Array.from({ length: 25 }, () => service.createJob({ job: raw })),
  ]);
  expect(new Set(answers.map((job) => job.header?.uid))).toEqual(new Set([uid]));
  const job = await worker.client.finished(uid);
  expect(job.result).toEqual({ sum: 42 });
  expect(counter.runs - before).toBe(1);
  const again = await worker.client.submit(add, submission({ numbers: [20, 22] }, { uid }));
  expect(again.state).toBe(JobState.SUCCEEDED);
});

test('another job under a uid that is taken is refused', async () => {
  const uid = newUid();
  await worker.client.submit(add, submission({ numbers: [1] }, { uid }));
  const other = worker.client.submit(add, submission({ numbers: [2] }, { uid }));
  await expect(other).rejects.toMatchObject({ kind: 'invalid', reason: 'REQUEST_ID_REUSED' });
});

describe('bad input gets a rich error and leaves nothing', () => {
  const refused: [string, object, string][] = [
    ['no uid', { uid: '' }, 'job.uid'],
    ['a foreign uid', { uid: 'seven' }, 'job.uid'],
    ['no type', { type: '' }, 'job.type'],
    ['no version', { definitionVersion: 0 }, 'job.definition_version'],
    ['a negative time-out', { timeout: { seconds: -5n, nanos: 0 } }, 'job.timeout'],
  ];
  test.each(refused)('%s', async (_what, change, field) => {
    const uid = newUid();
    const job = { uid, type: 'sum.add', definitionVersion: 1, ...change };
    const error: unknown = await jobService()
      .createJob({ job })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Invalid);
    expect((error as Invalid).details.fields?.map((violation) => violation.field)).toContain(field);
    await expect(worker.client.get(uid)).rejects.toMatchObject({ kind: 'not-found' });
  });

  test('an input past its limit', async () => {
    const input = { numbers: [], text: 'x'.repeat(300 * 1024) };
    await expect(worker.client.submit(add, submission(input))).rejects.toMatchObject({ kind: 'invalid' });
    const job = { uid: newUid(), type: 'sum.add', definitionVersion: 1, input };
    await expect(jobService().createJob({ job })).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('a malformed name, filter, page token', async () => {
    await expect(jobService().getJob({ name: 'vms/1' })).rejects.toMatchObject({ kind: 'invalid' });
    await expect(worker.client.list({ filter: 'colour = "red"' })).rejects.toMatchObject({
      reason: 'FILTER_INVALID',
    });
    await expect(worker.client.list({ pageToken: 'nope' })).rejects.toMatchObject({
      reason: 'PAGE_TOKEN_INVALID',
    });
  });
});

test('an error that may pass is tried again from the record', async () => {
  counter.runs = 0;
  counter.steps = [];
  const { header } = await worker.client.submit(flaky, submission({ failures: 2 }));
  const job = await worker.client.finished(header?.uid ?? '');
  expect(job).toMatchObject({ state: JobState.SUCCEEDED, result: 3 });
  expect(counter.steps).toEqual(['first']);
  expect(job.steps.map(({ name, attempt }) => [name, attempt])).toEqual([
    ['first', 1],
    ['second', 3],
  ]);
});

test('a backoff outlives a restart of job control', async () => {
  counter.runs = 0;
  const slow = defineJob({
    ...flaky,
    type: 'sum.slow',
    retry: { attempts: 3, backoffMs: 400 },
    run: flaky.run,
  });
  const other = await stack.worker({ jobs: [slow], deps: counter });
  const { header } = await other.client.submit(slow, submission({ failures: 1 }));
  const uid = header?.uid ?? '';
  await until('it waits', async () => (await other.client.get(uid)).nextAttemptTime !== undefined);
  await stack.restart();
  const job = await other.client.finished(uid);
  expect(job).toMatchObject({ state: JobState.SUCCEEDED, result: 2 });
  await stack.stop(other.running);
});

test('when the tries are used up, the job fails with the last error', async () => {
  counter.runs = 0;
  const { header } = await worker.client.submit(flaky, submission({ failures: 99 }));
  const job = await worker.client.finished(header?.uid ?? '');
  expect(job.state).toBe(JobState.FAILED);
  expect(job.error).toMatchObject({ message: 'not yet' });
  expect(counter.runs).toBe(3);
});

test('lists by filter, newest first, page by page', async () => {
  const owner = newUid();
  const uids: string[] = [];
  for (let n = 0; n < 7; n += 1) {
    const { header } = await worker.client.submit(add, submission({ numbers: [n] }, { owner }));
    uids.push(header?.uid ?? '');
  }
  await Promise.all(uids.map((uid) => worker.client.finished(uid)));
  const found: string[] = [];
  let pageToken = '';
  do {
    const page = await worker.client.list({
      filter: `owner = "${owner}" AND state = "SUCCEEDED"`,
      pageSize: 3,
      pageToken,
    });
    expect(page.jobs.length).toBeLessThanOrEqual(3);
    found.push(...page.jobs.map((job) => job.header?.uid ?? ''));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  expect(found).toEqual(uids.toReversed());
});

test('a watch gives the state now, then changes, and ends with the job', async () => {
  const { header } = await worker.client.submit(add, submission({ numbers: [5] }));
  const states: JobState[] = [];
  for await (const job of worker.client.watch(header?.uid ?? '')) states.push(job.state);
  expect(states.length).toBeGreaterThan(0);
  expect(states.at(-1)).toBe(JobState.SUCCEEDED);
});

test('the job is the operation', async () => {
  const operations = worker.context.clients.of(OperationsDefinition, stack.address);
  const { header } = await worker.client.submit(add, submission({ numbers: [8, 9] }));
  const name = `operations/${header?.uid ?? ''}`;
  const done = await operations.waitOperation({ name });
  expect(done).toMatchObject({ name, done: true });
  if (done.result?.$case !== 'response') throw new Error('no response');
  expect(Struct.unwrap(Struct.decode(done.result.value.value))).toEqual({ sum: 17 });
  expect((await operations.getOperation({ name })).metadata?.typeUrl).toBe(
    'type.googleapis.com/nephos.jobs.v1.Job',
  );
  const list = await operations.listOperations({ name: 'operations', pageSize: 1 });
  expect(list.operations).toHaveLength(1);
  await expect(operations.deleteOperation({ name })).rejects.toMatchObject({ kind: 'unimplemented' });
});

test('the same submission with its fields in another order was refused as another', async () => {
  const job = submission({ numbers: [1], more: { a: 1, b: 2 } });
  const first = await worker.client.submit(add, job);
  const input = { more: { b: 2, a: 1 }, numbers: [1] };
  const again = await worker.client.submit(add, { ...job, input });
  expect(again.header?.uid).toBe(first.header?.uid);
});

test('more names of steps than a record holds are refused before anything is looked at', async () => {
  const names = Array.from({ length: 101 }, (_, n) => `step-${n}`);
  await expect(worker.client.unwind(newUid(), names)).rejects.toMatchObject({ kind: 'invalid' });
});

test('labels of any length went on record', async () => {
  const job = { ...submission({ numbers: [1] }), labels: { note: 'x'.repeat(100_000) } };
  await expect(worker.client.submit(add, job)).rejects.toMatchObject({ kind: 'invalid' });
});
