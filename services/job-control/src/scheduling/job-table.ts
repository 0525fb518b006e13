/**
 * The jobs in memory, and every change of a job.
 * Invariants: a change is applied in memory at once and in order, and told to nobody before it is stored; all
 * writes of a job go through here, under the epoch of its partition. A job that is not in memory is read from the
 * store, and stamped with the current epoch before anything is done with it.
 */
import type { EntityCollection } from '@nephos/events';
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Clock, Conflict, isUid, NotFound } from '@nephos/service';
import type { Json, Stored } from '@nephos/store';
import { JobWriter } from '../adapters/job-writer.ts';
import { adopted, isOver, type JobRecord } from '../domain/record.ts';
import { jobMessage } from '../domain/view.ts';
import { LiveJob } from './live-job.ts';
import { NotOwned } from './not-owned.ts';

export interface TableOptions {
  readonly jobs: EntityCollection<JobRecord, Job>;
  readonly clock: Clock;
  /** The epoch held of a partition; undefined: it is not owned here. */
  readonly epochOf: (partition: number) => number | undefined;
  /** The owner before wrote down who held what. */
  readonly wasHanded: (partition: number) => boolean;
  /** A write met a newer epoch. */
  readonly onFenced: (partition: number) => void;
  /** The store refused a change: what is in memory of the partition is ahead of it for good. */
  readonly onFailure: (error: unknown, partition: number) => void;
}

export class JobTable {
  readonly #options: TableOptions;
  readonly #writer: JobWriter;
  readonly #live = new Map<string, LiveJob>();
  readonly #loading = new Map<string, Promise<LiveJob>>();
  readonly #watchers = new Map<string, Set<() => void>>();

  constructor(options: TableOptions) {
    this.#options = options;
    this.#writer = new JobWriter(options.jobs.documents);
  }

  get live(): ReadonlyMap<string, LiveJob> {
    return this.#live;
  }

  owns(partition: number): boolean {
    return this.#options.epochOf(partition) !== undefined;
  }

  /** The epoch under which the partition is held. Throws `NotOwned`. */
  epoch(partition: number): number {
    const epoch = this.#options.epochOf(partition);
    if (epoch !== undefined) return epoch;
    throw new NotOwned();
  }

  /** Throws `AlreadyExists`, `NotOwned`. */
  async insert(record: JobRecord): Promise<LiveJob> {
    const { uid } = record.header;
    const after = { id: uid, revision: 1, eventSeq: 1, value: record };
    const event =
      record.level === 'all'
        ? this.#options.jobs.eventOf(undefined, after, { verb: 'submitted' })
        : undefined;
    // A page may have brought it into memory before its writer heard that it is stored.
    const stored = await this.#writer.insert(uid, record, event);
    // A successor that read the partition before this write came through does not know of it: it is to be asked.
    if (this.#options.epochOf(record.partition) !== record.epoch) throw new NotOwned();
    return this.#keep(stored);
  }

  /** The job in memory, read and adopted where it is not. Throws `NotFound`, `NotOwned`. */
  load(uid: string): Promise<LiveJob> {
    const live = this.#live.get(uid);
    if (live !== undefined) return Promise.resolve(this.#pinned(live));
    const loading = this.#loading.get(uid) ?? this.#load(uid).finally(() => this.#loading.delete(uid));
    this.#loading.set(uid, loading);
    return loading;
  }

  /** Takes a document as read; stamps it where it is of an older epoch. Undefined when another write came first. */
  async adopt(stored: Stored<JobRecord>, change: Partial<JobRecord> = {}): Promise<LiveJob | undefined> {
    const known = this.#live.get(stored.id);
    if (known !== undefined) return this.#pinned(known);
    const epoch = this.epoch(stored.value.partition);
    if (stored.value.epoch > epoch) throw this.#fenced(stored.value.partition);
    if (stored.value.epoch === epoch || isOver(stored.value)) return this.#keep(stored);
    const handed = this.#options.wasHanded(stored.value.partition);
    const value = { ...adopted(stored.value, epoch, handed), ...change };
    try {
      return this.#keep(await this.#writer.update(stored.id, stored.revision, value, undefined));
    } catch (error) {
      if (error instanceof Conflict) return undefined;
      throw error;
    }
  }

  /**
   * Stores the next state; resolves once it is synced. `verb` names the event, if the job's level wants one;
   * undefined: nothing worth telling. A change that the store refuses ends this process: the next one goes on from
   * the record, and executors tell it again what was not acknowledged.
   */
  async change(job: LiveJob, next: JobRecord, verb: string | undefined): Promise<void> {
    const { clock, jobs, epochOf } = this.#options;
    // Lost meanwhile: the store would refuse it too, once a successor has stamped the job.
    if (epochOf(job.record.partition) !== job.record.epoch) throw new NotOwned();
    const before = { id: job.uid, revision: job.revision, eventSeq: job.eventSeq, value: job.record };
    const value = job.completed(next, clock.now().toISOString(), clock.monotonic());
    job.record = value;
    job.revision += 1;
    const after = { id: job.uid, revision: job.revision, eventSeq: job.eventSeq + 1, value };
    const told = verb !== undefined && isTold(value);
    const event: Json | undefined = told ? jobs.eventOf(before, after, { verb }) : undefined;
    if (event !== undefined) job.eventSeq += 1;
    try {
      job.stored = await this.#writer.update(job.uid, { epoch: value.epoch }, value, event);
    } catch (error) {
      if (error instanceof Conflict) throw this.#fenced(value.partition);
      this.#options.onFailure(error, value.partition);
      throw error;
    }
    this.touch(job.uid);
  }

  /** Something changed that a watcher might want to see. */
  touch(uid: string): void {
    const watchers = this.#watchers.get(uid);
    if (watchers !== undefined) for (const wake of watchers) wake();
  }

  watch(uid: string, wake: () => void): Disposable {
    const watchers = this.#watchers.get(uid) ?? new Set();
    this.#watchers.set(uid, watchers.add(wake));
    return {
      [Symbol.dispose]: () => {
        watchers.delete(wake);
        if (watchers.size === 0) this.#watchers.delete(uid);
      },
    };
  }

  /** Lets go of a job that nobody holds and that stands in no queue. */
  forget(job: LiveJob): void {
    if (job.pins > 0) {
      job.unwanted = true;
      return;
    }
    const idle = job.holder === undefined && job.lostBy === undefined && !job.queued;
    if (idle && job.revision === job.stored.revision) this.#live.delete(job.uid);
  }

  /** Forgets all of a partition: it is another's. */
  drop(partition: number): LiveJob[] {
    const dropped = [...this.#live.values()].filter(({ record }) => record.partition === partition);
    for (const { uid } of dropped) this.#live.delete(uid);
    // Those who watch find out that they have to watch elsewhere.
    for (const watchers of this.#watchers.values()) for (const wake of watchers) wake();
    return dropped;
  }

  /** Says on record who holds a job whose partition is given up. Without effect where another owns it already. */
  async mark({ uid, record }: LiveJob, heldBy: string): Promise<void> {
    if (isOver(record)) return;
    try {
      await this.#writer.update(uid, { epoch: record.epoch }, { ...record, heldBy }, undefined);
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
    }
  }

  /** Resolves once all that was asked to be written is. */
  flush(): Promise<void> {
    return this.#writer.flush();
  }

  /** The job as it may be shown. Throws `NotFound`. */
  async view(uid: string): Promise<Job> {
    const live = this.#live.get(uid);
    if (live !== undefined) return this.show(live.stored);
    const stored = await this.#options.jobs.get(uid);
    if (stored === undefined) throw missing(uid);
    return this.show(stored);
  }

  /** In which partition the job is, and whether it is over: then nothing about it is in anybody's memory. */
  async place(uid: string): Promise<{ readonly partition: number; readonly over: boolean }> {
    const value =
      this.#live.get(uid)?.stored.value ??
      (isUid(uid) ? await this.#options.jobs.get(uid) : undefined)?.value;
    if (value === undefined) throw missing(uid);
    return { partition: value.partition, over: isOver(value) };
  }

  show(stored: Stored<JobRecord>): Job {
    const live = this.#live.get(stored.id);
    const { clock } = this.#options;
    const shown = live?.stored ?? stored;
    return jobMessage(shown.value, shown.revision, live?.facts(clock.now().getTime(), clock.monotonic()));
  }

  async #load(uid: string): Promise<LiveJob> {
    if (!isUid(uid)) throw missing(uid);
    for (;;) {
      const stored = await this.#options.jobs.get(uid);
      if (stored === undefined) throw missing(uid);
      const job = await this.adopt(stored);
      if (job !== undefined) return job;
    }
  }

  /** The partition is another's. Whoever asked may ask that one. */
  #fenced(partition: number): NotOwned {
    this.#options.onFenced(partition);
    return new NotOwned('another instance of job control took over these jobs');
  }

  #keep(stored: Stored<JobRecord>): LiveJob {
    const job = this.#live.get(stored.id) ?? new LiveJob(stored);
    this.#live.set(stored.id, job);
    return this.#pinned(job);
  }

  /** Whoever asked for the job gets it a few promises later: until then nobody's `forget` may come between. */
  #pinned(job: LiveJob): LiveJob {
    job.pins += 1;
    setImmediate(() => {
      job.pins -= 1;
      if (job.pins > 0 || !job.unwanted) return;
      job.unwanted = false;
      this.forget(job);
    });
    return job;
  }
}

function missing(uid: string): NotFound {
  return new NotFound('RESOURCE_NOT_FOUND', `jobs/${uid} is not there`, {
    metadata: { resource: `jobs/${uid}` },
  });
}

function isTold(record: JobRecord): boolean {
  if (record.level === 'none') return false;
  return record.level === 'all' || isOver(record) || record.state === 'blocked';
}
