/**
 * The jobs of one type that wait for an executor: a bounded window in memory, the rest in the store, read page by
 * page as the window empties.
 * Invariants: a job enters either memory or the store's tail, decided when its place is given out, so a page never
 * brings what was in memory; places rise, so the cursor of a lane never has to go back. Jobs adopted from another
 * epoch wait out the grace in which their executor may announce them.
 */
import type { Page, Stored } from '@nephos/store';
import { laneOf, Places } from '../domain/lane.ts';
import type { JobRecord } from '../domain/record.ts';
import type { LiveJob } from './live-job.ts';

export interface QueueOptions {
  readonly type: string;
  /** The most jobs in memory. */
  readonly window: number;
  /** A page of a lane in order, behind a place. */
  readonly read: (lane: string, after: number, limit: number) => Promise<Page<JobRecord>>;
  /** Takes what a page brought into memory, stamped, and adds it unless it went another way meanwhile. */
  readonly admit: (stored: Stored<JobRecord>) => Promise<void>;
  /** True: it was adopted and its executor may still come back for it. */
  readonly waits: (job: LiveJob) => boolean;
  readonly onReady: () => void;
  readonly onFailure: (error: unknown, partition: number) => void;
}

/** What is in the store of one partition, behind the window. */
interface LaneReader {
  readonly places: Places;
  cursor: number;
  /** There may be more in the store. */
  more: boolean;
  /** Since the last page was asked for, something was added to the store. */
  dirty: boolean;
  /** Given a place in the store, not stored yet. */
  onTheWay: number;
  reading: boolean;
}

const pageSize = 256;

/** A place for a job; `kept` says whether it is to be queued in memory once it is stored. */
export interface Place {
  readonly order: number;
  readonly kept: boolean;
}

export class ReadyQueue {
  readonly #options: QueueOptions;
  readonly #lanes = new Map<number, LaneReader>();
  #jobs: (LiveJob | undefined)[] = [];
  #head = 0;
  #reserved = 0;
  readonly #parked = new Set<LiveJob>();

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#jobs.length - this.#head + this.#parked.size;
  }

  /** Begins with what the store has of a partition under a new epoch. */
  open(partition: number, places: Places): void {
    this.#lanes.set(partition, { places, cursor: 0, more: true, dirty: false, onTheWay: 0, reading: false });
  }

  close(partition: number): void {
    this.#lanes.delete(partition);
    for (const job of this.#parked) if (job.record.partition === partition) this.#parked.delete(job);
  }

  has(partition: number): boolean {
    return this.#lanes.has(partition);
  }

  /** The caller stores the job there, then calls `entered`, whether or not storing succeeded. */
  place(partition: number): Place {
    const lane = this.#lane(partition);
    const order = lane.places.next();
    const kept = !lane.more && lane.onTheWay === 0 && this.size + this.#reserved < this.#options.window;
    if (kept) {
      this.#reserved += 1;
      lane.cursor = order;
    } else {
      lane.more = true;
      lane.onTheWay += 1;
    }
    return { order, kept };
  }

  entered(partition: number, { kept }: Place, job: LiveJob | undefined): void {
    const lane = this.#lanes.get(partition);
    if (kept) {
      this.#reserved -= 1;
      if (job !== undefined && lane !== undefined) this.add(job);
      return;
    }
    if (lane === undefined) return;
    lane.onTheWay -= 1;
    lane.dirty = true;
  }

  /** Up to where pages have brought what stands in the lane. */
  cursor(partition: number): number {
    return this.#lanes.get(partition)?.cursor ?? 0;
  }

  /** True when a page is still to bring what stands at this place. */
  isAhead(partition: number, order: number): boolean {
    const lane = this.#lanes.get(partition);
    return lane !== undefined && lane.more && order > lane.cursor;
  }

  /** Queues a job that is in memory and nowhere else in a queue. */
  add(job: LiveJob): void {
    if (job.queued) return;
    job.queued = true;
    if (this.#options.waits(job)) this.#parked.add(job);
    else this.#jobs.push(job);
  }

  /** The next job that still wants an executor. */
  take(): LiveJob | undefined {
    while (this.#head < this.#jobs.length) {
      const job = this.#jobs[this.#head];
      this.#jobs[this.#head] = undefined;
      this.#head += 1;
      if (this.#head > 1024 && this.#head * 2 > this.#jobs.length) {
        this.#jobs = this.#jobs.slice(this.#head);
        this.#head = 0;
      }
      if (job?.queued === true) {
        job.queued = false;
        return job;
      }
    }
    return undefined;
  }

  /** The job went another way: to an executor that announced it, or to its end. */
  leave(job: LiveJob): void {
    job.queued = false;
    this.#parked.delete(job);
  }

  /** The grace is over for those adopted; gives how many still wait. */
  release(): number {
    for (const job of this.#parked) {
      if (this.#options.waits(job)) continue;
      this.#parked.delete(job);
      if (job.queued) this.#jobs.push(job);
    }
    this.#options.onReady();
    return this.#parked.size;
  }

  /** Reads on where the window has room. */
  refill(): void {
    if (this.size > this.#options.window / 2) return;
    for (const [partition, lane] of this.#lanes) {
      if (lane.more && !lane.reading) void this.#read(partition, lane);
    }
  }

  #lane(partition: number): LaneReader {
    const lane = this.#lanes.get(partition);
    if (lane === undefined) throw new Error(`partition ${partition} is not open`);
    return lane;
  }

  async #read(partition: number, lane: LaneReader): Promise<void> {
    const { type, read, admit, onReady, onFailure } = this.#options;
    lane.reading = true;
    lane.dirty = false;
    try {
      const { items } = await read(laneOf('ready', partition, type), lane.cursor, pageSize);
      if (this.#lanes.get(partition) !== lane) return;
      const last = items.at(-1)?.value.order;
      if (last !== undefined) lane.cursor = last;
      if (items.length < pageSize && lane.onTheWay === 0 && !lane.dirty) lane.more = false;
      await Promise.all(items.map((stored) => admit(stored)));
    } catch (error) {
      onFailure(error, partition);
    } finally {
      lane.reading = false;
    }
    onReady();
  }
}
