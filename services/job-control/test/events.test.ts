/** What the world is told of jobs, on the job stream of a real broker. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { type Bus, connectBus, type EntityEvent, subscribe } from '@nephos/events';
import { type NatsServer, startNatsServer } from '@nephos/events/testing';
import { defineJob, type JobContext, type JobEvents } from '@nephos/jobs';
import { Precondition } from '@nephos/service';
import { Stack, submission, until, type Worker } from './stack.ts';

const level = (type: string, events: JobEvents) =>
  defineJob({
    type,
    version: 1,
    timeoutMs: 60_000,
    retry: { attempts: 1 },
    events,
    async run(job: JobContext<{ readonly fails?: boolean }>) {
      await job.step('one', async () => 1);
      await job.step('two', async () => {
        if (job.input.fails === true) throw new Precondition('STATE_FORBIDS', 'no');
      });
      return { done: true };
    },
  });

const all = level('told.all', 'all');
const outcome = level('told.outcome', 'outcome');
const none = level('told.none', 'none');

let nats: NatsServer;
let stack: Stack;
let worker: Worker;
let bus: Bus;
let events: EntityEvent[];
let subscription: AsyncDisposable;

beforeEach(async () => {
  nats = await startNatsServer();
  stack = await Stack.make();
  await stack.control({ NEPHOS_NATS: nats.url });
  worker = await stack.worker({ jobs: [all, outcome, none], deps: {} });
  const { clock, log } = worker.context;
  bus = await connectBus({ nats: nats.url, name: 'test', clock, log });
  events = [];
  subscription = subscribe(bus, { name: 'test', tree: 'jobs' }, async (event) => {
    events.push(event);
    await Promise.resolve();
  });
});

afterEach(async () => {
  await subscription[Symbol.asyncDispose]();
  await bus[Symbol.asyncDispose]();
  await stack[Symbol.asyncDispose]();
  await nats.stop();
});

async function run(definition: typeof all, input: { fails?: boolean } = {}): Promise<string> {
  const job = await worker.client.submit(definition, submission(input));
  const uid = job.header?.uid ?? '';
  await worker.client.finished(uid);
  return uid;
}

const of = (uid: string): EntityEvent[] => events.filter((event) => event.uid === uid);

test('level all tells of each recorded change, numbered without a gap', async () => {
  const uid = await run(all);
  await until('the end is told', () => of(uid).some(({ verb }) => verb === 'succeeded'));
  expect(of(uid).map(({ verb, sequence }) => [verb, sequence])).toEqual([
    ['submitted', 1],
    ['step-finished', 2],
    ['step-finished', 3],
    ['succeeded', 4],
  ]);
  const last = of(uid).at(-1);
  expect(last?.new).toMatchObject({ state: 'JOB_STATE_SUCCEEDED', result: { done: true } });
  expect(last?.changedPaths).toContain('state');
});

test('level outcome tells how it ended, level none nothing', async () => {
  const good = await run(outcome);
  const bad = await run(outcome, { fails: true });
  const silent = await run(none);
  await until('both ends are told', () => of(good).length > 0 && of(bad).length > 0);
  expect(of(good).map(({ verb }) => verb)).toEqual(['succeeded']);
  expect(of(bad).map(({ verb }) => verb)).toEqual(['failed']);
  expect(of(bad)[0]?.new).toMatchObject({ error: { message: 'no' } });
  // Told after it, in order of time: so nothing of the silent one is still on its way.
  const after = await run(outcome);
  await until('the later end is told', () => of(after).length > 0);
  expect(of(silent)).toEqual([]);
});
