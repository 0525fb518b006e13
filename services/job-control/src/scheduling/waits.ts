/**
 * Jobs that wait for other jobs, held by no executor.
 * Invariant: a wait is a level, not an edge: what is on record is the set of jobs waited for, and whether they are
 * over is read, so nothing is missed between looking and sleeping. In memory is only which are still open. A
 * crash loses nothing: a successor reads the waits and looks again.
 */
import { isUid } from '@nephos/service';
import { isOver, type JobRecord, ready, suspended, withChild } from '../domain/record.ts';
import type { SchedulerCore } from './core.ts';
import type { LiveJob } from './live-job.ts';

export class Waits {
  readonly #core: SchedulerCore;
  readonly #open = new Map<string, Set<string>>();
  readonly #cancel: (uid: string) => Promise<void>;
  readonly #onDue: (partition: number, at: number) => void;

  /** `cancel` asks for the cancellation of a job; `onDue` is told when a waiting job times out. */
  constructor(
    core: SchedulerCore,
    {
      cancel,
      onDue,
    }: { cancel: (uid: string) => Promise<void>; onDue: (partition: number, at: number) => void },
  ) {
    this.#core = core;
    this.#cancel = cancel;
    this.#onDue = onDue;
  }

  /** Those of the jobs that are not over. What does not exist is over: it was never made. */
  async openOf(uids: readonly string[]): Promise<readonly string[]> {
    const records = await this.recordsOf(uids);
    return uids.filter((uid) => {
      const record = records.get(uid);
      return record !== undefined && !isOver(record);
    });
  }

  async recordsOf(uids: readonly string[]): Promise<ReadonlyMap<string, JobRecord>> {
    const { table, options } = this.#core;
    const records = new Map<string, JobRecord>();
    const unknown: string[] = [];
    for (const uid of uids) {
      const live = table.live.get(uid);
      if (live !== undefined) records.set(uid, live.stored.value);
      // What is no uid names no job; the store would refuse to look for it.
      else if (isUid(uid)) unknown.push(uid);
    }
    for (const { id, value } of await options.jobs.getMany(unknown)) records.set(id, value);
    return records;
  }

  /** Puts a job to sleep until these are over. It must be held by no executor any more. */
  async sleep(job: LiveJob, uids: readonly string[]): Promise<void> {
    const core = this.#core;
    this.#open.set(job.uid, new Set(uids));
    const unwinds = job.record.unwind !== undefined;
    const dueAt = unwinds ? Number.MAX_SAFE_INTEGER : core.now() + job.leftMs(core.clock.monotonic());
    await core.table.change(job, suspended(job.record, uids, dueAt), unwinds ? 'unwinding' : 'suspended');
    core.table.forget(job);
    if (!unwinds) this.#onDue(job.record.partition, dueAt);
    await this.check(job.uid, uids);
  }

  /** Looks whether what the job sleeps for is over. Also after a takeover, when nothing is in memory. */
  async check(uid: string, uids: readonly string[]): Promise<void> {
    // Known before looking: one that ends while the others are read counts too.
    const waiting = new Set(uids);
    this.#open.set(uid, waiting);
    const open = new Set(await this.openOf(uids));
    // Woken meanwhile, or asleep anew.
    if (this.#open.get(uid) !== waiting) return;
    for (const one of waiting) if (!open.has(one)) waiting.delete(one);
    if (waiting.size === 0) await this.#wake(uid);
  }

  /** A job with a parent is over. */
  async childOver(child: JobRecord): Promise<void> {
    if (child.parent === undefined) return;
    const open = this.#open.get(child.parent);
    if (open === undefined || !open.delete(child.header.uid) || open.size > 0) return;
    await this.#wake(child.parent);
  }

  forget(uid: string): void {
    this.#open.delete(uid);
  }

  /** Asks for the cancellation of all children that are not over. */
  async cancelChildren(record: JobRecord): Promise<readonly string[]> {
    const children = await this.recordsOf(record.children ?? []);
    // A uid is on the parent's record before its submission is checked: another's job under it stays another's.
    const own = [...children.values()].filter(({ parent }) => parent === record.header.uid);
    const open = own.filter((child) => !isOver(child)).map(({ header }) => header.uid);
    await Promise.all(open.map((uid) => this.#cancel(uid)));
    return await this.openOf(open);
  }

  /** Puts a child on its parent's record; the caller inserts the child after this is asked for. */
  async addChild(parent: LiveJob, uid: string): Promise<void> {
    if (parent.record.children?.includes(uid) === true) return;
    await this.#core.table.change(parent, withChild(parent.record, uid), 'child-added');
  }

  async #wake(uid: string): Promise<void> {
    this.#open.delete(uid);
    const job = await this.#core.table.load(uid);
    const sleeps = job.record.lane?.startsWith('suspended/') === true;
    if (!sleeps) return this.#core.table.forget(job);
    await this.#core.requeue(job, ready, 'resumed');
  }
}
