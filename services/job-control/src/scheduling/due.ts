/**
 * Jobs that wait for a point in time: a backoff's end, a time-out while suspended.
 * The lanes are ordered by time, so one timer a partition is enough; what is due is read from the store, whoever
 * put it there. Only wall times written by this instance are compared: a takeover rewrites them.
 */
import type { Stored } from '@nephos/store';
import { laneOf } from '../domain/lane.ts';
import { type JobRecord, ready } from '../domain/record.ts';
import type { SchedulerCore } from './core.ts';
import type { LiveJob } from './live-job.ts';

const pageSize = 200;

interface Alarm {
  readonly at: number;
  readonly timer: Disposable;
}

export class Due {
  readonly #core: SchedulerCore;
  readonly #timeOut: (job: LiveJob) => Promise<void>;
  readonly #alarms = new Map<number, Alarm>();

  constructor(core: SchedulerCore, timeOut: (job: LiveJob) => Promise<void>) {
    this.#core = core;
    this.#timeOut = timeOut;
  }

  /** Something of the partition is due then. */
  note(partition: number, at: number): void {
    if (at >= Number.MAX_SAFE_INTEGER) return;
    const alarm = this.#alarms.get(partition);
    if (alarm !== undefined && alarm.at <= at) return;
    alarm?.timer[Symbol.dispose]();
    const timer = this.#core.clock.timer(Math.max(0, at - this.#core.now()) + 1, () => {
      this.#alarms.delete(partition);
      this.#look(partition).catch((error: unknown) => {
        this.#core.log.warn({ err: error, partition }, 'what is due could not be read');
        this.note(partition, this.#core.now() + 1000);
      });
    });
    this.#alarms.set(partition, { at, timer });
  }

  async #look(partition: number): Promise<void> {
    if (!this.#core.partitions.includes(partition)) return;
    for (const lane of ['delayed', 'suspended'] as const) {
      const name = laneOf(lane, partition, '');
      const due = await this.#read(name, this.#core.now(), pageSize);
      await Promise.all(due.map((stored) => this.#handle(stored.id, name)));
      const next = (await this.#read(name, Number.MAX_SAFE_INTEGER - 1, 1))[0]?.value.order;
      if (next !== undefined) this.note(partition, next);
    }
  }

  async #read(lane: string, until: number, limit: number): Promise<Stored<JobRecord>[]> {
    const where = { lane, order: { lte: until } };
    return (await this.#core.options.jobs.find({ where, orderBy: 'lane', limit })).items;
  }

  async #handle(uid: string, lane: string): Promise<void> {
    const job = await this.#core.table.load(uid);
    const { record } = job;
    if (record.lane !== lane || (record.order ?? 0) > this.#core.now()) return this.#core.table.forget(job);
    if (lane.startsWith('delayed/')) await this.#core.requeue(job, ready, 'queued');
    else await this.#timeOut(job);
  }
}
