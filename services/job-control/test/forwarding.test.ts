/** Two job controls on one MongoDB: every call about every job is answered by both, whichever owns the job. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Job, JobState, NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { newUid, Unavailable } from '@nephos/service';
import { onMongo } from '@nephos/store/testing/on-mongo';
import { forwardedKey } from '../src/api/router.ts';
import { partitionOf, partitions } from '../src/domain/lane.ts';
import { march, Replicas, type ReplicaWorker, stepsOfMarch, stuck } from './replicas.ts';
import { submission, until } from './stack.ts';

const both = [0, 1];
const mostMs = 400_000;

let replicas: Replicas;
let worker: ReplicaWorker;

await onMongo((server) => {
  beforeAll(async () => {
    replicas = await Replicas.make(server, 2);
    for (const at of both) replicas.start(at);
    worker = await replicas.worker('one', 64);
    await until('both are connected', () => worker.executor.connected === 2);
    const owned = (at: number): Promise<number> => replicas.figure(at, 'nephos_jobs_partitions');
    await until('each owns half', async () => (await owned(0)) === 4 && (await owned(1)) === 4);
  }, mostMs);

  afterAll(async () => {
    await replicas[Symbol.asyncDispose]();
  });

  /** A uid in each partition, so that each instance owns half of the jobs. */
  function uids(): string[] {
    const found = new Map<number, string>();
    while (found.size < partitions) {
      const uid = newUid();
      found.set(partitionOf(uid), uid);
    }
    return [...found.values()];
  }

  const name = (uid: string): string => `jobs/${uid}`;

  /** Marches in every partition. */
  async function marching(pauseMs: number): Promise<string[]> {
    const all = uids();
    for (const uid of all) await worker.client.submit(march, submission({ pauseMs }, { uid }));
    return all;
  }

  /** Jobs that block in every partition. */
  async function blocking(): Promise<string[]> {
    const all = uids();
    for (const uid of all) await worker.client.submit(stuck, submission({}, { uid }));
    return all;
  }

  async function state(uid: string, wanted: JobState): Promise<void> {
    await until(`${uid} is in state ${wanted}`, async () => (await worker.client.get(uid)).state === wanted);
  }

  test(
    'submissions, one by one and in frames',
    async () => {
      for (const at of both) {
        const all = uids();
        const job = (uid: string): NewJob =>
          NewJob.fromPartial({
            uid,
            type: march.type,
            definitionVersion: 1,
            owner: 'tests',
            input: { pauseMs: 1 },
          });
        for (const uid of all)
          expect((await worker.at(at).createJob({ job: job(uid) })).header?.uid).toBe(uid);
        const framed = uids();
        const frames = (async function* () {
          yield { jobs: framed.map(job) };
        })();
        // One that was on its way when its partition changed hands may have been there already.
        const taken = new Set<string>();
        for await (const { results } of worker.at(at).submit(frames))
          for (const { uid, outcome } of results)
            if (outcome?.$case === 'accepted' || outcome?.$case === 'existing') taken.add(uid);
        expect(taken).toEqual(new Set(framed));
        const jobs = await Promise.all([...all, ...framed].map((uid) => worker.client.finished(uid)));
        expect(jobs.map(({ state: ended }) => ended)).toEqual(jobs.map(() => JobState.SUCCEEDED));
        // Who asked is who asked the first instance, not the instance that forwarded it.
        expect(new Set(jobs.map(({ principal }) => principal))).toEqual(new Set(['services/worker']));
      }
    },
    mostMs,
  );

  test(
    'what only the owner knows, and lists of it',
    async () => {
      const all = await marching(600_000);
      for (const uid of all) await state(uid, JobState.RUNNING);
      for (const at of both) {
        for (const uid of all) {
          expect((await worker.at(at).getJob({ name: name(uid) })).executor).not.toBe('');
          const operation = await worker.operationsAt(at).getOperation({ name: `operations/${uid}` });
          expect(operation.done).toBe(false);
        }
        const listed = await worker.at(at).listJobs({ filter: 'state = RUNNING', pageSize: 100 });
        expect(new Set(listed.jobs.map(({ header }) => header?.uid))).toEqual(new Set(all));
        const operations = await worker
          .operationsAt(at)
          .listOperations({ name: 'operations', pageSize: 100 });
        expect(operations.operations.length).toBeGreaterThanOrEqual(all.length);
      }
      for (const uid of all) await worker.client.cancel(uid);
    },
    mostMs,
  );

  test(
    'following a job and its log to the end',
    async () => {
      const all = await marching(300);
      const watched = all.flatMap((uid) =>
        both.map(async (at) => {
          let last: Job | undefined;
          for await (const job of worker.at(at).watchJob({ name: name(uid) })) last = job;
          const lines: string[] = [];
          for await (const { text } of worker.at(at).watchJobLog({ parent: name(uid) })) lines.push(text);
          const waited = await worker.operationsAt(at).waitOperation({ name: `operations/${uid}` });
          return { last: last?.state, lines: lines.length, done: waited.done };
        }),
      );
      for (const seen of await Promise.all(watched))
        expect(seen).toEqual({ last: JobState.SUCCEEDED, lines: stepsOfMarch, done: true });
      for (const at of both) {
        for (const uid of all)
          expect((await worker.at(at).listJobLogLines({ parent: name(uid) })).jobLogLines).toHaveLength(
            stepsOfMarch,
          );
      }
    },
    mostMs,
  );

  test(
    'commands',
    async () => {
      for (const at of both) {
        const [running, operated] = [await marching(600_000), await marching(600_000)];
        for (const uid of [...running, ...operated]) await state(uid, JobState.RUNNING);
        for (const uid of running) await worker.at(at).cancelJob({ name: name(uid) });
        for (const uid of operated)
          await worker.operationsAt(at).cancelOperation({ name: `operations/${uid}` });
        for (const uid of [...running, ...operated]) {
          const { cancelRequested } = await worker.client.get(uid);
          expect(cancelRequested).toBe(true);
        }
        const blocked = await blocking();
        for (const uid of blocked) await state(uid, JobState.BLOCKED);
        for (const uid of blocked) await worker.at(at).resumeJob({ name: name(uid) });
        for (const uid of blocked) await state(uid, JobState.BLOCKED);
        for (const uid of blocked) await worker.at(at).unwindJob({ name: name(uid), skipSteps: ['stick'] });
        const jobs = await Promise.all(blocked.map((uid) => worker.client.finished(uid)));
        expect(jobs.map(({ state: ended }) => ended)).toEqual(jobs.map(() => JobState.FAILED));
        await expect(worker.at(at).resumeJob({ name: name(newUid()) })).rejects.toMatchObject({
          kind: 'not-found',
        });
        await expect(worker.at(at).resumeJob({ name: name(blocked[0] ?? '') })).rejects.toMatchObject({
          reason: 'STATE_FORBIDS',
        });
      }
    },
    mostMs,
  );

  test(
    'a call that was forwarded is not forwarded again; both instances forwarded some',
    async () => {
      const metadata = { [forwardedKey]: 'another' };
      const refused: string[] = [];
      for (const uid of uids()) {
        for (const at of both) {
          const job = NewJob.fromPartial({ uid, type: 'nobody.runs', definitionVersion: 1, owner: 'tests' });
          await worker
            .at(at)
            .createJob({ job }, { metadata, deadlineMs: 5000 })
            .catch((error: unknown) => {
              expect(error).toBeInstanceOf(Unavailable);
              expect(error).toMatchObject({ reason: 'LEASE_LOST' });
              refused.push(uid);
            });
        }
      }
      expect(refused).toHaveLength(partitions);
      for (const at of both)
        expect(await replicas.figure(at, 'nephos_jobs_forwarded_total')).toBeGreaterThan(0);
    },
    mostMs,
  );
});
