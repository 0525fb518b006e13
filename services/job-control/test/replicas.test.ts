/** Several job controls on one MongoDB: restarted in turn, killed and put to sleep under load. */
import { expect, test } from '@jest/globals';
import { type Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { newUid } from '@nephos/service';
import { onMongo } from '@nephos/store/testing/on-mongo';
import { march, Replicas, type ReplicaWorker, stepsOfMarch } from './replicas.ts';
import { submission, until } from './stack.ts';

/** Only a bound: the machine may be busy with other things. */
const mostMs = 400_000;

/** Submits and looks at jobs until told to stop; counts what it asked for and what failed. */
class Load {
  readonly uids: string[] = [];
  readonly failures: string[] = [];
  calls = 0;
  readonly #workers: readonly ReplicaWorker[];
  readonly #running: Promise<void>[];
  #stopped = false;

  constructor(workers: readonly ReplicaWorker[], pauseMs: number) {
    this.#workers = workers;
    this.#running = workers.map((worker) => this.#submit(worker, pauseMs));
  }

  async stop(): Promise<Job[]> {
    this.#stopped = true;
    await Promise.all(this.#running);
    const [worker] = this.#workers;
    if (worker === undefined) return [];
    return await Promise.all(this.uids.map((uid) => worker.client.finished(uid)));
  }

  async #submit({ client }: ReplicaWorker, pauseMs: number): Promise<void> {
    while (!this.#stopped) {
      const uid = newUid();
      await this.#call(() => client.submit(march, submission({ pauseMs }, { uid })));
      this.uids.push(uid);
      await this.#call(() => client.get(uid));
      await this.#call(() => client.list({ filter: 'state = RUNNING', pageSize: 20 }));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async #call(call: () => Promise<unknown>): Promise<void> {
    this.calls += 1;
    await call().catch((error: unknown) => this.failures.push(String(error)));
  }
}

await onMongo((server) => {
  /** All instances up, two workers connected to each. */
  async function cluster(count: number, env = {}) {
    await using opened = new AsyncDisposableStack();
    const replicas = opened.use(await Replicas.make(server, count, env));
    for (let at = 0; at < count; at += 1) replicas.start(at);
    const workers = [await replicas.worker('one'), await replicas.worker('two')];
    const connected = (): boolean => workers.every(({ executor }) => executor.connected === count);
    await until('all are connected', connected);
    return { replicas, workers, connected, all: opened.move() };
  }

  /** Each job done once, each step once. */
  function expectOnce(replicas: Replicas, load: Load, jobs: readonly Job[]): void {
    const { ledger } = replicas;
    process.stderr.write(
      `${replicas.server}: ${jobs.length} jobs, ${ledger.begun} steps, ${ledger.doubled.length} doubled, ` +
        `${load.calls} calls, ${load.failures.length} failed\n`,
    );
    expect([...new Set(load.failures)]).toEqual([]);
    expect(jobs.filter(({ state }) => state !== JobState.SUCCEEDED)).toEqual([]);
    expect(ledger.begun).toBe(jobs.length * stepsOfMarch);
    expect(ledger.doubled).toEqual([]);
  }

  test(
    'a rolling restart under load fails no call and runs no step twice',
    async () => {
      const { replicas, workers, connected, all } = await cluster(2);
      await using _all = all;
      const load = new Load(workers, 100);
      for (const at of [0, 1]) {
        const before = load.uids.length;
        await until('some jobs are under way', () => load.uids.length > before + 20);
        expect(await replicas.end(at, 'SIGTERM')).toBe(0);
        replicas.start(at);
        await until('all are connected again', connected);
      }
      expectOnce(replicas, load, await load.stop());
    },
    mostMs,
  );

  test(
    'an owner that is killed fails no call; its jobs go on where they run',
    async () => {
      const { replicas, workers, connected, all } = await cluster(3);
      await using _all = all;
      const load = new Load(workers, 200);
      await until('some jobs are under way', () => load.uids.length > 30);
      await replicas.end(0, 'SIGKILL');
      const before = load.uids.length;
      await until('others go on', () => load.uids.length > before + 30);
      replicas.start(0);
      await until('all are connected again', connected);
      expectOnce(replicas, load, await load.stop());
    },
    mostMs,
  );

  test(
    'an owner that stood still past its lease finishes nothing, and lives on',
    async () => {
      const { replicas, workers, all } = await cluster(2);
      await using _all = all;
      const load = new Load(workers, 200);
      for (const at of [0, 1]) {
        const before = load.uids.length;
        await until('some jobs are under way', () => load.uids.length > before + 20);
        replicas.signal(at, 'SIGSTOP');
        await new Promise((resolve) => setTimeout(resolve, 7000));
        replicas.signal(at, 'SIGCONT');
        await replicas.answers(workers[0] as ReplicaWorker, at);
      }
      expectOnce(replicas, load, await load.stop());
      expect([replicas.lives(0), replicas.lives(1)]).toEqual([true, true]);
    },
    mostMs,
  );

  test(
    'control: an executor with a stream to one instance only is not heard by the next owner, and steps run twice',
    async () => {
      await using replicas = await Replicas.make(server, 2, { NEPHOS_JOB_GRACE: '1s' });
      for (const at of [0, 1]) replicas.start(at);
      const [first, second] = replicas.addresses;
      const one = await replicas.worker('one', 16, [first ?? '']);
      const two = await replicas.worker('two', 16, [second ?? '']);
      await until(
        'each is connected to its own',
        () => one.executor.connected + two.executor.connected === 2,
      );
      // Longer than the lease and the grace.
      for (let n = 0; n < 16; n += 1) await one.client.submit(march, submission({ pauseMs: 60_000 }));
      await until('each runs some', () => one.executor.held > 0 && two.executor.held > 0);
      await replicas.end(0, 'SIGKILL');
      await until('steps run again', () => replicas.ledger.doubled.some((line) => line.endsWith('one, two')));
    },
    mostMs,
  );
});
