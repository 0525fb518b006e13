/**
 * Gives jobs to executors: the queues, the streams and the table put together.
 * Invariants: a job has one holder; what it reports counts only under its token; a token is never given out twice
 * in an epoch. Who holds what is in memory only: after a crash executors announce what they run, and what nobody
 * announces within the grace is assigned anew.
 */
import type { EntityCollection } from '@nephos/events';
import { statusOf } from '@nephos/jobs/protocol';
import type { PartitionTerm } from '@nephos/proto/nephos/jobs/v1/executor';
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Cancelled, type Clock, DeadlineExceeded, Unavailable } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { Logger } from 'pino';
import type { JobLog } from '../adapters/job-log.ts';
import type { Partitions } from '../adapters/partitions.ts';
import { assignmentOf } from '../domain/assignment.ts';
import { recordOfThrown } from '../domain/errors.ts';
import { epochOfPlace, Places, partitionNumber } from '../domain/lane.ts';
import { type JobRecord, ready, sleptMs, unwinding } from '../domain/record.ts';
import { JobTable } from './job-table.ts';
import type { LiveJob } from './live-job.ts';
import { NotOwned } from './not-owned.ts';
import { ReadyQueue } from './ready-queue.ts';
import { type Session, Sessions } from './session.ts';
import { Versions } from './versions.ts';

export interface CoreOptions {
  readonly jobs: EntityCollection<JobRecord, Job>;
  readonly jobLog: JobLog;
  readonly clock: Clock;
  readonly log: Logger;
  /** This instance of job control. */
  readonly instance: string;
  /** Jobs of one type in memory. */
  readonly window: number;
  /** How long after a takeover, or the loss of a stream, an executor may come back for its jobs. */
  readonly graceMs: number;
  readonly heartbeatMs: number;
  /** The store is shared with other instances: what fails here is read anew, here or there. */
  readonly shared: boolean;
  /** How long after a takeover a write of the predecessor may still have come through: as long as a lease. */
  readonly stragglersMs: number;
  /** The store cannot be used any more. */
  readonly onFailure: (error: unknown) => void;
}

/** What the core needs to know of who owns what. */
export type Ownership = Pick<Partitions, 'epochOf' | 'lost'>;

interface Partition {
  readonly epoch: number;
  readonly places: Places;
  readonly takenAt: number;
  /** The owner before wrote down who held what: nothing else needs to wait for executors. */
  readonly handed: boolean;
}

export class SchedulerCore {
  readonly options: CoreOptions;
  readonly table: JobTable;
  readonly sessions = new Sessions();
  readonly versions: Versions;
  /** Jobs given to executors since the start. */
  assigned = 0;
  readonly jobLog: JobLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly #queues = new Map<string, ReadyQueue>();
  readonly #partitions = new Map<number, Partition>();
  readonly #bypassed = new Map<string, number>();
  /** This process ends: nothing is assigned, and who leaves is not replaced here. */
  stopping = false;
  #token = 0;
  #leases: Ownership | undefined;

  constructor(options: CoreOptions) {
    this.options = options;
    this.jobLog = options.jobLog;
    this.clock = options.clock;
    this.log = options.log;
    this.versions = new Versions({
      sessions: this.sessions,
      clock: options.clock,
      graceMs: options.graceMs,
      takenAt: (partition) => this.#partitions.get(partition)?.takenAt,
      onPatienceOver: (type) => this.pump(type),
    });
    this.table = new JobTable({
      jobs: options.jobs,
      clock: options.clock,
      epochOf: (partition) => this.#epochOf(partition),
      wasHanded: (partition) => this.#partitions.get(partition)?.handed === true,
      onFenced: (partition) => this.#leases?.lost(partition),
      onFailure: (error, partition) => this.failed(error, partition),
    });
  }

  /** Whom to tell that a write met a newer epoch. */
  set leases(leases: Ownership) {
    this.#leases = leases;
  }

  now(): number {
    return this.clock.now().getTime();
  }

  get partitions(): readonly number[] {
    return [...this.#partitions.keys()];
  }

  /** What is owned, as executors are told. */
  get terms(): PartitionTerm[] {
    return [...this.#partitions].map(([partition, { epoch }]) => ({
      partition: partitionNumber(partition),
      epoch: BigInt(epoch),
    }));
  }

  /** Owned without a break since the epoch began. */
  owns(partition: number, epoch: number): boolean {
    return this.#epochOf(partition) === epoch;
  }

  get queues(): ReadonlyMap<string, ReadyQueue> {
    return this.#queues;
  }

  /** Jobs held by executors. */
  get running(): number {
    let held = 0;
    for (const session of this.sessions.all) held += session.held.size;
    return held;
  }

  /**
   * Something of a partition went wrong for good. Where the store is shared, the partition is let go of and read anew
   * under a higher epoch; else this process ends. While it stops, its store closes under what is left, and the next
   * owner goes on from the record.
   */
  failed(error: unknown, partition?: number): void {
    if (this.stopping || error instanceof NotOwned) return;
    if (!this.options.shared || !(error instanceof Unavailable)) return this.options.onFailure(error);
    this.log.warn({ err: error, partition }, 'the store failed: the partition is taken anew');
    if (partition !== undefined) this.#leases?.lost(partition);
  }

  /** The epoch held at this very moment: a process that stood still may have lost it without knowing. */
  #epochOf(partition: number): number | undefined {
    const epoch = this.#partitions.get(partition)?.epoch;
    return epoch !== undefined && this.#leases?.epochOf(partition) === epoch ? epoch : undefined;
  }

  /** A partition is this instance's from here on. */
  take(partition: number, epoch: number, handed = false): void {
    const places = new Places(epoch);
    this.#partitions.set(partition, { epoch, places, takenAt: this.clock.monotonic(), handed });
    for (const queue of this.#queues.values()) queue.open(partition, places);
    const partitions = this.terms.filter((term) => term.partition === partitionNumber(partition));
    for (const session of this.sessions.all)
      session.order({ $case: 'announcementWanted', value: { partitions } });
    this.clock.timer(this.options.graceMs, () => this.#graceOver());
    for (const queue of this.#queues.values()) queue.refill();
  }

  /** It is another's: nothing of it is touched any more. Resolves once what was on its way is written. */
  async lose(partition: number): Promise<void> {
    if (!this.#partitions.delete(partition)) return;
    for (const queue of this.#queues.values()) queue.close(partition);
    this.versions.drop(partition);
    const marked: Promise<void>[] = [];
    for (const job of this.table.drop(partition)) {
      job.queued = false;
      const executor = job.holder?.session.executor ?? job.lostBy?.executor;
      if (executor !== undefined) marked.push(this.table.mark(job, executor));
      const session = job.holder?.session;
      if (session === undefined) continue;
      session.held.delete(job.uid);
      // The executor keeps running it: the new owner adopts it. What it still tells here waits for that.
      if (job.holder !== undefined) session.gone.set(job.uid, BigInt(job.holder.token));
      job.release();
    }
    for (const session of this.sessions.all) this.pumpSession(session);
    await Promise.all([...marked, this.table.flush(), this.jobLog.flush()]);
  }

  /** Puts a job that only the store has where executors take it from, unless a page is still to bring it. */
  async surface(stored: Stored<JobRecord>): Promise<void> {
    const { lane, order, partition, type } = stored.value;
    if (lane?.startsWith('ready/') !== true || order === undefined || this.table.live.has(stored.id)) return;
    const queue = this.queue(type);
    if (queue.isAhead(partition, order)) return;
    const job = await this.table.load(stored.id);
    const still = job.record.lane === lane && job.record.order === order;
    if (still && job.holder === undefined && job.lostBy === undefined) queue.add(job);
    else this.table.forget(job);
    this.pump(type);
  }

  queue(type: string): ReadyQueue {
    const known = this.#queues.get(type);
    if (known !== undefined) return known;
    const queue: ReadyQueue = new ReadyQueue({
      type,
      window: this.options.window,
      read: async (lane, after, limit) =>
        await this.options.jobs.find({ where: { lane, order: { gt: after } }, orderBy: 'lane', limit }),
      admit: async (stored) => {
        if (this.#wasBypassed(stored)) return;
        const job = (await this.table.adopt(stored)) ?? (await this.table.load(stored.id));
        const still = job.record.lane === stored.value.lane && job.record.order === stored.value.order;
        const free = job.holder === undefined && job.lostBy === undefined;
        if (still && free) queue.add(job);
        else this.table.forget(job);
      },
      waits: (job) => this.inGrace(job),
      onReady: () => this.pump(type),
      onFailure: (error, partition) => this.failed(error, partition),
    });
    this.#queues.set(type, queue);
    for (const [partition, { places }] of this.#partitions) queue.open(partition, places);
    return queue;
  }

  /** Puts a job back among those that wait for an executor. */
  async requeue(
    job: LiveJob,
    change: (record: JobRecord, order: number) => JobRecord,
    verb: string,
  ): Promise<void> {
    const { type, partition } = job.record;
    const queue = this.queue(type);
    if (!queue.has(partition)) return;
    const place = queue.place(partition);
    const { elapsedMs = 0 } = job.record;
    // While it slept nobody counted for it, unless it stayed in memory: then memory knows better.
    const awake = { ...job.record, elapsedMs: elapsedMs + sleptMs(job.record, this.now()) };
    let stored = false;
    try {
      await this.table.change(job, change(awake, place.order), verb);
      stored = true;
    } finally {
      queue.entered(partition, place, stored && job.holder === undefined ? job : undefined);
    }
    this.table.forget(job);
    this.pump(type);
  }

  /** Unwinds it with this error as soon as an executor takes it; it must not be held by one. */
  async unwindLater(job: LiveJob, error: unknown): Promise<void> {
    const cancelled = error instanceof Cancelled;
    await this.requeue(
      job,
      (record, order) => ready(unwinding(record, recordOfThrown(error), cancelled), order),
      'unwinding',
    );
  }

  /** It was ready under a former owner, and its executor may still come back for it. */
  inGrace(job: LiveJob): boolean {
    const partition = this.#partitions.get(job.record.partition);
    const { lane, order, epoch, heldBy } = job.record;
    // Only there is the order a place.
    const isReady = lane?.startsWith('ready/') === true && order !== undefined;
    if (partition === undefined || heldBy === undefined) return false;
    if (job.dispatched || !isReady || epochOfPlace(order) >= epoch) return false;
    return this.clock.monotonic() - partition.takenAt < this.options.graceMs;
  }

  /** Assigns what can be assigned of a type. */
  pump(type: string): void {
    if (this.stopping || !this.sessions.serves(type)) return;
    const queue = this.queue(type);
    while (this.sessions.hasRoom(type)) {
      const job = this.versions.take(type) ?? queue.take();
      if (job === undefined) break;
      // Lost in this very moment: the next owner assigns it.
      if (!this.table.owns(job.record.partition)) continue;
      if (this.mustStop(job)) {
        const { partition } = job.record;
        this.unwindLater(job, stopError(job.record)).catch((error: unknown) => this.failed(error, partition));
        continue;
      }
      const session = this.versions.pick(job);
      if (session === undefined) this.versions.park(job);
      else this.#assign(job, session);
    }
    queue.refill();
  }

  pumpSession(session: Session): void {
    for (const type of session.versions.keys()) {
      if (session.free <= 0) return;
      this.pump(type);
    }
  }

  /** A job is taken from the store out of its turn: the page that brings it later must not queue it again. */
  bypass(job: LiveJob): void {
    const { type, partition, lane, order } = job.record;
    if (job.queued || order === undefined || lane?.startsWith('ready/') !== true) return;
    if (this.queue(type).isAhead(partition, order)) this.#bypassed.set(job.uid, order);
  }

  #wasBypassed({ id, value }: Stored<JobRecord>): boolean {
    if (this.#bypassed.get(id) !== value.order) return false;
    return this.#bypassed.delete(id);
  }

  /** The job stays with the executor that announced it, under a new token. */
  adopt(job: LiveJob, session: Session): void {
    this.bypass(job);
    this.queue(job.record.type).leave(job);
    this.versions.leave(job);
    this.#hold(job, session);
    this.tellAdopted(job);
  }

  /** Tells the holder of a job under which fence it is held. */
  tellAdopted(job: LiveJob): void {
    const { uid, record, holder } = job;
    if (holder === undefined) return;
    const value = { uid, epoch: BigInt(record.epoch), token: BigInt(holder.token) };
    holder.session.order({ $case: 'adopt', value });
    this.tellStop(job);
  }

  /** No executor holds the job any more. */
  release(job: LiveJob): void {
    job.holder?.session.held.delete(job.uid);
    job.release();
  }

  /** It was cancelled or is late, and does not unwind yet. */
  mustStop(job: LiveJob): boolean {
    if (job.record.unwind !== undefined) return false;
    return job.record.cancelRequested === true || job.leftMs(this.clock.monotonic()) <= 0;
  }

  /** Tells the holder of a job that it is to stop, if it is. */
  tellStop(job: LiveJob): void {
    const { record, holder } = job;
    if (holder === undefined || !this.mustStop(job)) return;
    const cancelled = record.cancelRequested === true;
    holder.session.order({
      $case: 'cancel',
      value: { uid: job.uid, error: statusOf(stopError(record)), cancelled },
    });
  }

  #assign(job: LiveJob, session: Session): void {
    this.assigned += 1;
    const token = this.#hold(job, session);
    session.order({ $case: 'assign', value: assignmentOf(job.record, token) });
    this.table.touch(job.uid);
  }

  #hold(job: LiveJob, session: Session): number {
    this.#token += 1;
    job.holder = { session, token: this.#token };
    job.lastToken = this.#token;
    job.lostBy = undefined;
    job.start(this.now(), this.clock.monotonic());
    session.held.set(job.uid, job);
    session.gone.delete(job.uid);
    return this.#token;
  }

  #graceOver(): void {
    let waiting = 0;
    for (const queue of this.#queues.values()) waiting += queue.release();
    // A timer may be early by a moment.
    if (waiting > 0) this.clock.timer(10, () => this.#graceOver());
  }
}

/** Why a job that is to stop is to stop. */
export function stopError(record: JobRecord): Cancelled | DeadlineExceeded {
  if (record.cancelRequested === true) return new Cancelled('JOB_CANCELLED', 'the job was cancelled');
  return new DeadlineExceeded('JOB_TIMED_OUT', `the job took longer than ${record.timeoutMs} ms`);
}
