/**
 * What the tests of job-control run on: the real service on SQLite in a folder of its own, and services that submit
 * and run jobs. Everything is disposed in reverse; nothing is faked.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Executor, type JobClient, type JobDefinition, jobClient, startExecutor } from '@nephos/jobs';
import {
  defineService,
  newUid,
  type RunningService,
  type ServiceContext,
  startService,
} from '@nephos/service';
import { freePort } from '@nephos/service/testing';
import { jobControlService } from '../src/service.ts';

export type Env = Readonly<Record<string, string>>;

/** Short times, so that no test waits for a default. */
const quick: Env = {
  NEPHOS_LOG_LEVEL: 'error',
  NEPHOS_DRAIN_DELAY: '0s',
  NEPHOS_DRAIN_GRACE: '1s',
  NEPHOS_JOB_GRACE: '500ms',
  NEPHOS_JOB_HEARTBEAT: '200ms',
  // No test of this folder but events.test.ts needs a broker: nothing listens there.
  NEPHOS_NATS: 'nats://127.0.0.1:9',
};

export interface WorkerOptions<D> {
  readonly jobs: readonly JobDefinition<object, unknown, D>[];
  readonly deps: D;
  readonly concurrency?: number;
}

export interface Worker {
  readonly running: RunningService;
  readonly context: ServiceContext;
  readonly client: JobClient;
  readonly executor: Executor | undefined;
}

/** A folder, an address, and the services started on them. */
export class Stack implements AsyncDisposable {
  readonly data: string;
  readonly address: string;
  readonly #open = new Set<RunningService>();
  #control: RunningService | undefined;

  constructor(data: string, port: number) {
    this.data = data;
    this.address = `127.0.0.1:${port}`;
  }

  static async make(): Promise<Stack> {
    return new Stack(await mkdtemp(path.join(tmpdir(), 'nephos-jobs-')), await freePort());
  }

  get env(): Env {
    return { ...quick, NEPHOS_DATA: this.data, NEPHOS_BIND: this.address };
  }

  async control(env: Env = {}): Promise<RunningService> {
    this.#control = this.#keep(await startService(jobControlService, { env: { ...this.env, ...env } }));
    return this.#control;
  }

  /** Stops job control and starts it anew, on the same data and address. */
  async restart(env: Env = {}): Promise<RunningService> {
    if (this.#control !== undefined) await this.stop(this.#control);
    return await this.control(env);
  }

  /** A service that submits jobs, and runs them where `options` says which. */
  async worker<D>(options?: WorkerOptions<D>): Promise<Worker> {
    let client: JobClient | undefined;
    let executor: Executor | undefined;
    const definition = defineService({
      name: 'worker',
      version: '0.1.0',
      config: {},
      start: (ctx) => {
        client = jobClient(ctx, { target: this.address });
        if (options !== undefined) executor = startExecutor(ctx, { ...options, jobControl: [this.address] });
        return Promise.resolve();
      },
    });
    const env = { ...quick, NEPHOS_DATA: path.join(this.data, newUid()) };
    const running = this.#keep(await startService(definition, { env }));
    if (client === undefined) throw new Error('the worker did not start');
    return { running, context: running.context, client, executor };
  }

  async stop(running: RunningService): Promise<void> {
    this.#open.delete(running);
    await running.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of [...this.#open].toReversed()) await this.stop(running);
    await rm(this.data, { recursive: true, force: true });
  }

  #keep(running: RunningService): RunningService {
    this.#open.add(running);
    return running;
  }
}

/** What a submission of a test says beside its input. */
export function submission<I extends object>(
  input: I,
  more: { uid?: string; target?: string; owner?: string } = {},
) {
  return {
    uid: more.uid ?? newUid(),
    input,
    owner: more.owner ?? 'tests',
    zone: '',
    target: more.target ?? '',
  };
}

/** Resolves once `holds` does; asked again after each turn of the event loop and a little rest. */
export async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (let tries = 0; tries < 6000; tries += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`never came about: ${what}`);
}

/** A place where a job can be held until the test lets it go. */
export class Gate {
  readonly #reached = Promise.withResolvers<void>();
  readonly #opened = Promise.withResolvers<void>();
  passes = 0;

  async pass(signal?: AbortSignal): Promise<void> {
    this.passes += 1;
    this.#reached.resolve();
    const aborted = new Promise<never>((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    await Promise.race([this.#opened.promise, aborted]);
  }

  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  open(): void {
    this.#opened.resolve();
  }
}
