/** Two owners on one store: leases, epochs, and a former owner that changes nothing any more. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { openEntity } from '@nephos/events';
import { openLeases } from '@nephos/leases';
import { NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Clock, newUid, systemClock } from '@nephos/service';
import { openStore, type Store } from '@nephos/store';
import { pino } from 'pino';
import { jobEntity, leaseCollection, logCollection } from '../src/adapters/collections.ts';
import { JobLog } from '../src/adapters/job-log.ts';
import { Partitions } from '../src/adapters/partitions.ts';
import { partitions as count, partitionOf } from '../src/domain/lane.ts';
import { Scheduler } from '../src/scheduling/scheduler.ts';
import { until } from './stack.ts';

const clock = systemClock;
const log = pino({ level: 'silent' });
const leaseMs = 400;

/** The leases' monotonic clock: moved by the test alone, so that no stall of the machine looks like a dead owner. */
let elapsed = 0;
const leaseClock: Clock = {
  now: () => clock.now(),
  monotonic: () => elapsed,
  sleep: (ms, signal) => clock.sleep(ms, signal),
  timer: (ms, fire) => clock.timer(ms, fire),
  every: (ms, fire) => clock.every(ms, fire),
};

let folder: string;
let store: Store;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-takeover-'));
  store = await openStore({ url: `sqlite://${folder}/jobs.db`, clock });
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

/** An owner as one of several instances would be: its store is not exclusive. */
async function owner(name: string) {
  const jobs = await openEntity(store, jobEntity, { source: 'job-control', clock });
  const jobLog = new JobLog({ logs: await store.collection(logCollection), clock, log, onLine: () => {} });
  const failures: unknown[] = [];
  const scheduler = new Scheduler({
    jobs,
    jobLog,
    clock,
    log,
    instance: name,
    window: 100,
    graceMs: 100,
    heartbeatMs: 1000,
    shared: true,
    stragglersMs: leaseMs,
    onFailure: (error) => failures.push(error),
  });
  const partitions = new Partitions({
    leases: await openLeases({
      store: { collection: store.collection.bind(store), exclusive: false },
      ...{ owner: name, address: () => name, leaseMs, clock: leaseClock, log },
      collection: leaseCollection,
    }),
    onTaken: (partition, epoch, handed) => scheduler.taken(partition, epoch, handed),
    onLost: (partition) => scheduler.lost(partition),
  });
  scheduler.leases = partitions;
  return { scheduler, partitions, jobs, failures };
}

function newJob(uid = newUid()): NewJob {
  return NewJob.fromPartial({ uid, type: 'some.thing', definitionVersion: 1, owner: 'tests' });
}

test('partitions are handed over when their owner leaves', async () => {
  const one = await owner('one');
  const two = await owner('two');
  await one.partitions.look();
  expect(one.partitions.owned).toHaveLength(count);
  expect(one.partitions.epochOf(0)).toBe(1);
  await one.partitions.run(AbortSignal.abort());
  await two.partitions.look();
  expect(two.partitions.owned).toHaveLength(count);
  expect(two.partitions.epochOf(0)).toBe(2);
});

test('an owner that cannot renew stops by itself, before another may take over', async () => {
  const one = await owner('one');
  await one.partitions.look();
  expect(one.partitions.owned).toHaveLength(count);
  const two = await owner('two');
  await two.partitions.look();
  elapsed += leaseMs;
  await two.partitions.look();
  expect(two.partitions.owned).toHaveLength(count);
  // The first never renewed; when it looks at its watch it has been too long.
  const stop = new AbortController();
  const running = one.partitions.run(stop.signal);
  await until('one gave up', () => one.partitions.owned.length === 0);
  stop.abort();
  await running;
  expect(two.partitions.epochOf(3)).toBe(2);
});

test('a former owner that does not know it yet writes nothing over its successor', async () => {
  const one = await owner('one');
  await one.partitions.look();
  const job = newJob();
  await one.scheduler.submissions.submit(job);
  const two = await owner('two');
  await two.partitions.look();
  elapsed += leaseMs;
  await two.partitions.look();
  // The successor touches the job: from here on it carries the new epoch.
  await two.scheduler.core.table.load(job.uid);
  const partition = partitionOf(job.uid);
  expect((await one.jobs.get(job.uid))?.value.epoch).toBe(2);
  await expect(one.scheduler.commands.cancel(job.uid)).rejects.toMatchObject({ reason: 'LEASE_LOST' });
  expect((await one.jobs.get(job.uid))?.value.state).toBe('queued');
  // The refusal told it: it holds the partition no longer, and says so.
  expect(one.partitions.owned).not.toContain(partition);
  await expect(one.scheduler.commands.cancel(job.uid)).rejects.toMatchObject({ kind: 'unavailable' });
  await expect(one.scheduler.submissions.submit(job)).rejects.toMatchObject({ kind: 'unavailable' });
});
