/**
 * Job control in memory for the tests of this service's jobs: runs each job as libs/jobs does (recorded steps are
 * replayed, what may pass is tried again, unwinding goes in reverse), and can crash the executor before or after any
 * step or undo, whereupon the job goes on as if in another process.
 */
import type { JobClient, JobContext, JobDefinition, StepOptions } from '@nephos/jobs';
import { Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Cancelled, createLog, NephosError, NotFound, toStatusMessage } from '@nephos/service';

type Definition = JobDefinition<object, unknown, unknown>;
interface Recorded {
  readonly result?: string | undefined;
  readonly error?: unknown;
}
interface Asked {
  readonly name: string;
  readonly input: unknown;
  readonly undo: ((input: never, result: never) => Promise<void>) | undefined;
}
interface JobRecord {
  readonly definition: Definition;
  readonly options: { readonly uid: string; readonly input: object; readonly target: string; readonly principal?: string };
  readonly steps: Map<string, Recorded>;
  readonly undone: Set<string>;
  readonly done: Promise<JobState>;
  state: JobState;
  attempt: number;
  epoch: bigint;
  error?: unknown;
  result?: unknown;
}

export type CrashPoint = 'before' | 'after' | 'undo-before' | 'undo-after';

const passing = new Set(['unavailable', 'conflict', 'internal', 'deadline']);
const log = createLog({ service: 'test', version: '0', instanceId: '0', level: 'silent', to: 'stderr' });
const crashed = Symbol('crashed');

export class TestJobs implements JobClient {
  readonly records = new Map<string, JobRecord>();
  readonly #deps: () => unknown;
  /** True: the executor dies here. */
  crash: (job: string, step: string, point: CrashPoint) => boolean = () => false;
  /** Thrown once a step has been reached, instead of running it. */
  fail: (job: string, step: string) => Error | undefined = () => undefined;
  /** While false, submissions fail as if job control were away. */
  available = true;

  constructor(deps: () => unknown) {
    this.#deps = deps;
  }

  submit: JobClient['submit'] = async (definition, options) => {
    if (!this.available) throw new NephosErrorAway('SERVICE_UNAVAILABLE', 'job control is away');
    const there = this.records.get(options.uid);
    if (there) return this.#message(there);
    const done = Promise.withResolvers<JobState>();
    const record: JobRecord = {
      definition: definition as unknown as Definition,
      options: { ...options, input: JSON.parse(JSON.stringify(options.input)) as object },
      steps: new Map(),
      undone: new Set(),
      done: done.promise,
      state: JobState.RUNNING,
      attempt: 1,
      epoch: 1n,
    };
    this.records.set(options.uid, record);
    void this.#run(record).then(done.resolve, done.reject);
    return this.#message(record);
  };

  get: JobClient['get'] = async (uid) => this.#message(this.#record(uid));
  list: JobClient['list'] = async () => ({ jobs: [], nextPageToken: '' });
  cancel: JobClient['cancel'] = async (uid) => {
    this.#record(uid).error ??= new Cancelled('JOB_CANCELLED', 'the job was cancelled');
    return this.get(uid);
  };
  resume: JobClient['resume'] = (uid) => this.get(uid);
  unwind: JobClient['unwind'] = (uid) => this.get(uid);
  async *watch(uid: string): AsyncIterable<Job> {
    yield await this.finished(uid);
  }
  finished: JobClient['finished'] = async (uid) => {
    await this.#record(uid).done;
    return this.get(uid);
  };

  /** Waits until no job is under way. */
  async idle(): Promise<void> {
    for (let before = -1; before !== this.records.size; ) {
      before = this.records.size;
      await Promise.all([...this.records.values()].map(({ done }) => done));
    }
  }

  #record(uid: string): JobRecord {
    const record = this.records.get(uid);
    if (!record) throw new NotFound('RESOURCE_NOT_FOUND', `jobs/${uid}`);
    return record;
  }

  #message({ definition, options, state, error, result }: JobRecord): Job {
    const over = state === JobState.FAILED || state === JobState.CANCELLED;
    return Job.fromPartial({
      header: { uid: options.uid, name: `jobs/${options.uid}` },
      type: definition.type,
      state,
      target: options.target,
      ...(over && { error: toStatusMessage(error) }),
      ...(state === JobState.SUCCEEDED && { result }),
    });
  }

  async #run(record: JobRecord): Promise<JobState> {
    for (;;) {
      const asked: Asked[] = [];
      const outcome = await this.#attempt(record, asked);
      if (outcome === crashed) {
        record.epoch += 1n;
        continue;
      }
      if (outcome !== 'unwind') return (record.state = JobState.SUCCEEDED);
      record.state = JobState.UNWINDING;
      if (await this.#undo(record, asked)) continue;
      return (record.state = record.error instanceof Cancelled ? JobState.CANCELLED : JobState.FAILED);
    }
  }

  async #attempt(record: JobRecord, asked: Asked[]): Promise<'unwind' | 'done' | typeof crashed> {
    const abandoned = Promise.withResolvers<typeof crashed>();
    const context = this.#context(record, asked, () => abandoned.resolve(crashed));
    const run = record.definition.run(context, this.#deps()).then(
      (result) => {
        record.result = result;
        return record.error === undefined ? ('done' as const) : ('unwind' as const);
      },
      (error: unknown) => {
        record.error ??= error;
        return 'unwind' as const;
      },
    );
    return await Promise.race([run, abandoned.promise]);
  }

  #context(record: JobRecord, asked: Asked[], abandon: () => void): JobContext<object> {
    const { options, definition } = record;
    return {
      uid: options.uid,
      input: options.input,
      signal: new AbortController().signal,
      log,
      attempt: record.attempt,
      root: options.uid,
      owner: '',
      zone: '',
      principal: options.principal ?? '',
      requestId: '',
      fence: { epoch: record.epoch, token: '1' },
      step: (name, run, stepOptions) => this.#step(record, asked, abandon, name, run, stepOptions),
      progress: () => undefined,
      child: async () => await Promise.reject(new Error(`${definition.type} has no children`)),
      all: async () => await Promise.reject(new Error(`${definition.type} has no children`)),
      annotate: () => undefined,
    };
  }

  async #step<T, In>(
    record: JobRecord,
    asked: Asked[],
    abandon: () => void,
    name: string,
    run: (scope: { signal: AbortSignal; id: string }) => Promise<T>,
    { input, undo }: StepOptions<T, In> = {},
  ): Promise<T> {
    asked.push({ name, input, undo });
    const { type, retry } = record.definition;
    const recorded = record.steps.get(name);
    if (recorded) {
      if (recorded.error !== undefined) throw recorded.error;
      return valueOf<T>(recorded.result);
    }
    if (record.error !== undefined) throw record.error;
    const die = (): Promise<never> => {
      abandon();
      return new Promise(() => {});
    };
    try {
      if (this.crash(type, name, 'before')) return await die();
      const failure = this.fail(type, name);
      if (failure) throw failure;
      const value = await run({ signal: new AbortController().signal, id: `${record.options.uid}/${name}` });
      if (this.crash(type, name, 'after')) return await die();
      record.attempt = 1;
      const result = JSON.stringify(value);
      record.steps.set(name, { result });
      return valueOf<T>(result);
    } catch (error) {
      const mayPass = !(error instanceof NephosError) || passing.has(error.kind);
      if (mayPass && record.attempt < retry.attempts) {
        record.attempt += 1;
        return await die();
      }
      record.steps.set(name, { error });
      throw error;
    }
  }

  /** True when the executor died on the way. */
  async #undo(record: JobRecord, asked: readonly Asked[]): Promise<boolean> {
    const { type } = record.definition;
    for (const { name, input, undo } of asked.toReversed()) {
      if (!undo || record.undone.has(name)) continue;
      if (this.crash(type, name, 'undo-before')) return true;
      const recorded = record.steps.get(name);
      await undo(input as never, (recorded?.error ? undefined : valueOf(recorded?.result)) as never);
      if (this.crash(type, name, 'undo-after')) return true;
      record.undone.add(name);
    }
    return false;
  }
}

function valueOf<T>(text: string | undefined): T {
  return (text === undefined ? undefined : JSON.parse(text)) as T;
}

class NephosErrorAway extends NephosError {
  override readonly kind = 'unavailable';
}
