/**
 * Job control in memory for the tests of this service: what is submitted runs at once on the real engine of libs/jobs
 * (its MemoryJob), which a test may crash or fail at any step or undo, whereupon the job goes on as in another process.
 */
import type { JobClient, JobDefinition } from '@nephos/jobs';
import { type Ended, type Fault, MemoryJob } from '@nephos/jobs/testing';
import { Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Cancelled, NotFound, toStatusMessage, Unavailable } from '@nephos/service';

export type CrashPoint = 'before' | 'after' | 'undo-before' | 'undo-after';

interface JobRecord {
  readonly type: string;
  readonly target: string;
  readonly job: MemoryJob<object, unknown, unknown>;
  readonly done: Promise<Ended>;
  /** Ends a job that waits in the queue. */
  end(ended: Ended): void;
  ended?: Ended;
}

const states = {
  succeeded: JobState.SUCCEEDED,
  failed: JobState.FAILED,
  cancelled: JobState.CANCELLED,
  blocked: JobState.BLOCKED,
} as const;

export class TestJobs implements JobClient {
  readonly records = new Map<string, JobRecord>();
  readonly #deps: () => unknown;
  /** True: the executor dies here. */
  crash: (job: string, step: string, point: CrashPoint) => boolean = () => false;
  /** Thrown instead of running the step. */
  fail: (job: string, step: string) => Error | undefined = () => undefined;
  /** While false, submissions fail as if job control were away. */
  available = true;
  /** While true, jobs wait and none begins. */
  queueing = false;

  constructor(deps: () => unknown) {
    this.#deps = deps;
  }

  submit: JobClient['submit'] = async (definition, { uid, input, target }) => {
    if (!this.available) throw new Unavailable('SERVICE_UNAVAILABLE', 'job control is away');
    const there = this.records.get(uid);
    if (there) return this.#message(uid, there);
    const { type } = definition;
    const job = new MemoryJob(
      definition as JobDefinition<object, unknown, unknown>,
      input,
      { deps: this.#deps() },
      uid,
    );
    const done = Promise.withResolvers<Ended>();
    const record: JobRecord = { type, target, job, done: done.promise, end: done.resolve };
    this.records.set(uid, record);
    if (!this.queueing) void job.run(this.#faults(type)).then(done.resolve, done.reject);
    void done.promise.then((ended) => (record.ended = ended));
    return this.#message(uid, record);
  };

  get: JobClient['get'] = async (uid) => this.#message(uid, this.#record(uid));
  list: JobClient['list'] = async () => ({ jobs: [], nextPageToken: '' });
  /** Only of what never began: the engine's own tests show the rest. */
  cancel: JobClient['cancel'] = async (uid) => {
    const record = this.#record(uid);
    record.end({ state: 'cancelled', error: new Cancelled('JOB_CANCELLED', 'the job was cancelled') });
    await record.done;
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

  /** The steps that the last job of a type recorded. */
  stepsOf(type: string): string[] {
    const record = [...this.records.values()].findLast((other) => other.type === type);
    return [...(record?.job.steps.keys() ?? [])];
  }

  #faults(type: string): Fault {
    return async (place, work, crash) => {
      const [step = '', undo] = place.split('/');
      if (this.crash(type, step, undo ? 'undo-before' : 'before')) return await crash();
      const failure = undo ? undefined : this.fail(type, step);
      if (failure) throw failure;
      const value = await work();
      if (this.crash(type, step, undo ? 'undo-after' : 'after')) return await crash();
      return value;
    };
  }

  #record(uid: string): JobRecord {
    const record = this.records.get(uid);
    if (!record) throw new NotFound('RESOURCE_NOT_FOUND', `there is no jobs/${uid}`);
    return record;
  }

  #message(uid: string, { type, target, ended }: JobRecord): Job {
    return Job.fromPartial({
      header: { uid, name: `jobs/${uid}` },
      type,
      target,
      state: ended ? states[ended.state] : JobState.RUNNING,
      ...(ended && 'error' in ended && { error: toStatusMessage(ended.error) }),
      ...(ended && 'result' in ended && { result: ended.result }),
    });
  }
}
