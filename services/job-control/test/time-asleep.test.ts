/** A job's time runs while it waits, also while nobody has it in memory. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { defineJob, type JobContext } from '@nephos/jobs';
import { JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Clock, systemClock, Unavailable } from '@nephos/service';
import { Stack, submission } from './stack.ts';

const nap = defineJob({
  type: 'time.nap',
  version: 1,
  timeoutMs: 60_000,
  async run(job: JobContext<{ readonly ms: number }>, clock: Clock) {
    await job.step('nap', () => clock.sleep(job.input.ms));
  },
});

const napper = defineJob({
  type: 'time.napper',
  version: 1,
  timeoutMs: 2000,
  async run(job: JobContext<{ readonly naps: number }>) {
    for (let n = 0; n < job.input.naps; n += 1) await job.all([await job.child(nap, { ms: 900 })]);
  },
});

const stubborn = defineJob({
  type: 'time.stubborn',
  version: 1,
  timeoutMs: 1000,
  retry: { attempts: 50, backoffMs: 300 },
  async run(job: JobContext<object>) {
    await job.step('refused', () => {
      if (job.attempt < 6) throw new Unavailable('SERVICE_UNAVAILABLE', 'not yet');
      return Promise.resolve();
    });
  },
});

let stack: Stack;

beforeEach(async () => {
  stack = await Stack.make();
  await stack.control();
});

afterEach(async () => {
  await stack[Symbol.asyncDispose]();
});

test.each([
  ['children', napper],
  ['backoffs', stubborn],
])('a job outlived its time by waiting for %s, since its clock stood still', async (_what, definition) => {
  const { client } = await stack.worker({ jobs: [nap, napper, stubborn], deps: systemClock });
  const job = submission({ naps: 3 });
  await client.submit(definition as typeof napper, job);
  const ended = await client.finished(job.uid);
  expect(ended.state).toBe(JobState.FAILED);
  expect(ended.error?.message).toMatch(/longer than [12]000 ms/);
});
