/** Jobs that sleep over a change of owner: whatever else asks for them meanwhile, they are woken. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { openEntity } from '@nephos/events';
import { NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { systemClock as clock, newUid } from '@nephos/service';
import { openStore, type Store } from '@nephos/store';
import { pino } from 'pino';
import { jobEntity, logCollection } from '../src/adapters/collections.ts';
import { JobLog } from '../src/adapters/job-log.ts';
import { partitionOf } from '../src/domain/lane.ts';
import { type JobRecord, over, suspended } from '../src/domain/record.ts';
import { recordOf } from '../src/domain/submission.ts';
import { Commands } from '../src/scheduling/commands.ts';
import { SchedulerCore } from '../src/scheduling/core.ts';
import { Due } from '../src/scheduling/due.ts';
import { adoptSleepers } from '../src/scheduling/takeover.ts';
import { Waits } from '../src/scheduling/waits.ts';

const log = pino({ level: 'silent' });

let folder: string;
let store: Store;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-sleepers-'));
  store = await openStore({ url: `sqlite://${folder}/jobs.db`, clock });
});

afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

/** The scheduling parts that sleepers meet, on a real store; each partition is held under epoch 2. */
async function parts() {
  const jobs = await openEntity(store, jobEntity, { source: 'job-control', clock });
  const core = new SchedulerCore({
    jobs,
    jobLog: new JobLog({ logs: await store.collection(logCollection), clock, log, onLine: () => {} }),
    clock,
    log,
    instance: 'successor',
    window: 100,
    graceMs: 100,
    heartbeatMs: 1000,
    shared: false,
    stragglersMs: 1000,
    onFailure: (error) => {
      throw error;
    },
  });
  core.leases = { epochOf: () => 2, lost: () => {} };
  const waits: Waits = new Waits(core, {
    cancel: (uid) => commands.cancel(uid),
    onDue: (partition, at) => due.note(partition, at),
  });
  const commands: Commands = new Commands({ core, waits, end: () => Promise.resolve() });
  const due: Due = new Due(core, (job) => commands.timeOut(job));
  return { jobs, core, waits, due };
}

/** A parent that its former owner put to sleep, and the children it waits for. */
async function family(jobs: Awaited<ReturnType<typeof parts>>['jobs'], children: readonly string[]) {
  const uid = newUid();
  const record = (of: string, parent?: string): JobRecord => {
    const job = NewJob.fromPartial({ uid: of, type: 'some.thing', definitionVersion: 1, owner: 'tests' });
    const now = clock.now().toISOString();
    return recordOf(job, { root: uid, epoch: 1, place: 2 ** 32 + 1, now, ...(parent && { parent }) });
  };
  const asleep = suspended({ ...record(uid), children }, children, clock.now().getTime() + 60_000);
  await jobs.documents.insert(uid, asleep);
  for (const child of children) await jobs.documents.insert(child, record(child, uid));
  return { uid, partition: partitionOf(uid), record };
}

test('a sleeper that an executor announced before the takeover came to it slept for ever', async () => {
  const { jobs, core, waits, due } = await parts();
  const child = newUid();
  const { uid, partition, record } = await family(jobs, [child]);
  await jobs.documents.update(child, 1, over(record(child, uid), { state: 'succeeded', result: '' }, 1));
  core.take(partition, 2);
  core.table.forget(await core.table.load(uid));
  await adoptSleepers(partition, { core, waits, due });
  expect((await core.table.load(uid)).record).toMatchObject({ state: 'queued', epoch: 2 });
});

test('a child that ended while a successor looked at its siblings was never counted', async () => {
  const { jobs, core, waits } = await parts();
  const [first, second] = [newUid(), newUid()];
  const { uid, partition, record } = await family(jobs, [first, second]);
  await jobs.documents.update(second, 1, over(record(second, uid), { state: 'succeeded', result: '' }, 1));
  core.take(partition, 2);
  const running = await core.table.load(first);
  const looking = waits.check(uid, [first, second]);
  await waits.childOver(over(running.record, { state: 'succeeded', result: '' }, 1));
  await looking;
  expect((await core.table.load(uid)).record.state).toBe('queued');
});
