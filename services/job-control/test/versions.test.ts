/** Executors of two versions of a definition side by side, as during a rolling upgrade of a service. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { defineJob, type JobContext, type JobDefinition } from '@nephos/jobs';
import { JobBlockReason, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Unavailable } from '@nephos/service';
import { Gate, Stack, submission, until, type Worker } from './stack.ts';

let stack: Stack;
let gate: Gate;
const ran: string[] = [];

/** One step is recorded; then it is to be tried again, or waits at the gate. */
function definition(version: number): JobDefinition<{ readonly waits: boolean }, void, Gate> {
  return defineJob({
    type: 'versions.job',
    version,
    timeoutMs: 60_000,
    retry: { attempts: 3, backoffMs: 50 },
    async run(job: JobContext<{ readonly waits: boolean }>, at: Gate) {
      await job.step('one', () => Promise.resolve(version));
      await job.step('two', async ({ signal }) => {
        ran.push(`${job.input.waits ? 'waits' : 'tries'} on ${version}`);
        if (job.input.waits) await at.pass(signal);
        else if (ran.length === 1) throw new Unavailable('SERVICE_UNAVAILABLE', 'not now');
      });
    },
  });
}

const worker = async (version: number): Promise<Worker> =>
  await stack.worker({ jobs: [definition(version)], deps: gate, concurrency: 1 });

beforeEach(async () => {
  ran.length = 0;
  gate = new Gate();
  stack = await Stack.make();
  await stack.control();
});

afterEach(async () => {
  gate.open();
  await stack[Symbol.asyncDispose]();
});

test('a job with steps on record went to an executor of another version while its own was busy, and blocked', async () => {
  const [old, next] = [await worker(1), await worker(2)];
  await until('both are there', () => old.executor?.connected === 1 && next.executor?.connected === 1);
  const tried = await old.client.submit(definition(1), submission({ waits: false }));
  await until('it was tried', () => ran.length === 1);
  await old.client.submit(definition(1), submission({ waits: true }));
  await gate.reached;
  // Version 2 has room; what waits has its steps from version 1.
  const uid = tried.header?.uid ?? '';
  await until('its pause is over', async () => (await old.client.get(uid)).nextAttemptTime === undefined);
  expect((await old.client.get(uid)).state).toBe(JobState.QUEUED);
  gate.open();
  expect((await old.client.finished(uid)).state).toBe(JobState.SUCCEEDED);
  expect(ran).toEqual(['tries on 1', 'waits on 1', 'tries on 1']);
});

test('when nobody of its version comes back within the grace, a person is asked', async () => {
  const old = await worker(1);
  const { header } = await old.client.submit(definition(1), submission({ waits: true }));
  await gate.reached;
  const next = await worker(2);
  await until('it is there', () => next.executor?.connected === 1);
  await stack.stop(old.running);
  const uid = header?.uid ?? '';
  await until('it is blocked', async () => (await next.client.get(uid)).state === JobState.BLOCKED);
  expect((await next.client.get(uid)).block?.reason).toBe(JobBlockReason.VERSION_MISMATCH);
});
