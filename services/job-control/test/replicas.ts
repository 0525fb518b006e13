/**
 * Several job controls as processes of their own on one MongoDB, and workers that submit and run jobs on all of
 * them. Every step that begins is counted by the workers themselves; nothing is faked.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  defineJob,
  type Executor,
  type JobClient,
  type JobContext,
  jobClient,
  startExecutor,
} from '@nephos/jobs';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { JobServiceDefinition } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Client, defineService, type RunningService, startService } from '@nephos/service';
import { freePort } from '@nephos/service/testing';
import type { MongoServer } from '@nephos/store/testing';
import { type Env, until } from './stack.ts';

export const stepsOfMarch = 3;

/** How often each step of each job began, and by whom. */
export class Ledger {
  readonly #begun = new Map<string, string[]>();

  begin(job: string, step: number, worker: string): void {
    const key = `${job}/${step}`;
    this.#begun.set(key, [...(this.#begun.get(key) ?? []), worker]);
  }

  get begun(): number {
    return this.#begun.size;
  }

  /** Steps that began more than once. */
  get doubled(): string[] {
    return [...this.#begun]
      .filter(([, by]) => by.length > 1)
      .map(([key, by]) => `${key} by ${by.join(', ')}`);
  }

  begunOf(job: string): number {
    return [...this.#begun.keys()].filter((key) => key.startsWith(job)).length;
  }
}

interface Deps {
  readonly ledger: Ledger;
  readonly worker: string;
  readonly rest: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Steps that take a while each. */
export const march = defineJob({
  type: 'replica.march',
  version: 1,
  timeoutMs: 300_000,
  events: 'none',
  async run(job: JobContext<{ readonly pauseMs: number }>, { ledger, worker, rest }: Deps) {
    for (let n = 0; n < stepsOfMarch; n += 1) {
      await job.step(`step-${n}`, async ({ signal }) => {
        ledger.begin(job.uid, n, worker);
        job.annotate(`${worker} does step ${n}`);
        await rest(job.input.pauseMs, signal);
        return n;
      });
    }
    return worker;
  },
});

/** Blocks when it is unwound, until a person says to give that up. */
export const stuck = defineJob({
  type: 'replica.stuck',
  version: 1,
  timeoutMs: 300_000,
  events: 'none',
  retry: { attempts: 1, backoffMs: 1 },
  async run(job: JobContext<object>) {
    await job.step('stick', () => Promise.resolve(1), { undo: () => Promise.reject(new Error('it sticks')) });
    await job.step('fail', () => Promise.reject(new Error('no way on')));
  },
});

export interface ReplicaWorker {
  readonly name: string;
  readonly client: JobClient;
  readonly executor: Executor;
  /** The contracts as one instance serves them. */
  at(instance: number): Client<JobServiceDefinition>;
  operationsAt(instance: number): Client<OperationsDefinition>;
}

interface Instance {
  readonly address: string;
  /** Where its figures are served. */
  readonly metrics: string;
  child: ChildProcess | undefined;
}

export class Replicas implements AsyncDisposable {
  readonly ledger = new Ledger();
  readonly #server: MongoServer;
  readonly #url: string;
  readonly #data: string;
  readonly #env: Env;
  readonly #instances: Instance[];
  readonly #workers: RunningService[] = [];

  constructor(server: MongoServer, data: string, ports: readonly number[], env: Env) {
    this.#server = server;
    this.#url = server.fresh();
    this.#data = data;
    this.#env = env;
    this.#instances = Array.from({ length: ports.length / 2 }, (_, at) => ({
      address: `127.0.0.1:${ports[2 * at]}`,
      metrics: `127.0.0.1:${ports[2 * at + 1]}`,
      child: undefined,
    }));
  }

  static async make(server: MongoServer, count: number, env: Env = {}): Promise<Replicas> {
    const ports: number[] = [];
    while (ports.length < 2 * count) ports.push(await freePort());
    return new Replicas(server, await mkdtemp(path.join(tmpdir(), 'nephos-replicas-')), ports, env);
  }

  get addresses(): string[] {
    return this.#instances.map(({ address }) => address);
  }

  get server(): string {
    return this.#server.name;
  }

  start(instance: number): void {
    const at = this.#at(instance);
    at.child = spawn(process.execPath, [path.join(import.meta.dirname, '../src/main.ts')], {
      env: {
        PATH: process.env['PATH'],
        NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
        NEPHOS_LOG_LEVEL: process.env['NEPHOS_LOG_LEVEL'] ?? 'error',
        NEPHOS_DATA: path.join(this.#data, String(instance)),
        NEPHOS_STORE: this.#url,
        NEPHOS_BIND: at.address,
        NEPHOS_METRICS_BIND: at.metrics,
        // Nobody listens there: events wait, jobs do not.
        NEPHOS_NATS: 'nats://127.0.0.1:9',
        NEPHOS_JOB_LEASE: '3s',
        NEPHOS_JOB_GRACE: '20s',
        NEPHOS_JOB_HEARTBEAT: '1s',
        ...this.#env,
      },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }

  signal(instance: number, signal: NodeJS.Signals): void {
    this.#at(instance).child?.kill(signal);
  }

  /** Signals it and waits for its end. */
  async end(instance: number, signal: NodeJS.Signals): Promise<number | null> {
    const { child } = this.#at(instance);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      return child?.exitCode ?? null;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
    return child.exitCode;
  }

  /** True while the process lives. */
  lives(instance: number): boolean {
    const { child } = this.#at(instance);
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** `jobControl`: the instances that its executor holds a stream to. */
  async worker(name: string, concurrency = 16, jobControl = this.addresses): Promise<ReplicaWorker> {
    let made: ReplicaWorker | undefined;
    const definition = defineService({
      name: 'worker',
      version: '0.1.0',
      config: {},
      start: (ctx) => {
        const rest: Deps['rest'] = (ms, signal) => ctx.clock.sleep(ms, signal);
        const executor = startExecutor(ctx, {
          jobs: [march, stuck],
          deps: { ledger: this.ledger, worker: name, rest },
          concurrency,
          jobControl,
        });
        const client = jobClient(ctx, { target: `ipv4:${this.addresses.join(',')}` });
        const at = (instance: number): Client<JobServiceDefinition> =>
          ctx.clients.of(JobServiceDefinition, this.#at(instance).address);
        const operationsAt = (instance: number): Client<OperationsDefinition> =>
          ctx.clients.of(OperationsDefinition, this.#at(instance).address);
        made = { name, client, executor, at, operationsAt };
        return Promise.resolve();
      },
    });
    const env = {
      NEPHOS_LOG_LEVEL: 'error',
      NEPHOS_DRAIN_DELAY: '0s',
      NEPHOS_DRAIN_GRACE: '1s',
      NEPHOS_DATA: path.join(this.#data, name),
    };
    this.#workers.push(await startService(definition, { env }));
    if (made === undefined) throw new Error('the worker did not start');
    return made;
  }

  /** One of its figures, summed over its labels. */
  async figure(instance: number, name: string): Promise<number> {
    const answer = await fetch(`http://${this.#at(instance).metrics}/metrics`);
    const lines = (await answer.text()).split('\n').filter((line) => line.startsWith(name));
    return lines.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0);
  }

  /** Resolves once the instance answers that it is there. */
  async answers(worker: ReplicaWorker, instance: number): Promise<void> {
    await until(`instance ${instance} answers`, async () => {
      const listed = worker.at(instance).listJobs({}, { deadlineMs: 1000 });
      return await listed.then(
        () => true,
        () => false,
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.stop()));
    await Promise.all(this.#instances.map((_, at) => this.end(at, 'SIGKILL')));
    await rm(this.#data, { recursive: true, force: true });
  }

  #at(instance: number): Instance {
    const found = this.#instances[instance];
    if (found === undefined) throw new Error(`there is no instance ${instance}`);
    return found;
  }
}
