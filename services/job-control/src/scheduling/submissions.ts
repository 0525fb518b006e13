/**
 * Takes new jobs.
 * Invariants: idempotent on the uid, also when many come at once; acknowledged only once synced; a child is on its
 * parent's record before it exists, so none is ever without its parent knowing.
 */
import type { NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { AlreadyExists, Invalid, Unavailable } from '@nephos/service';
import type { Stored } from '@nephos/store';
import { partitionOf } from '../domain/lane.ts';
import { isOver, type JobRecord } from '../domain/record.ts';
import { checkSubmission, isRepetition, recordOf } from '../domain/submission.ts';
import type { SchedulerCore } from './core.ts';
import type { LiveJob } from './live-job.ts';
import type { Waits } from './waits.ts';

/** What became of a submission: `fresh` when it made the job. */
export interface Submitted {
  readonly fresh: boolean;
  readonly stored: Stored<JobRecord>;
}

interface Family {
  readonly root: string;
  readonly parent?: string;
}

export class Submissions {
  readonly #core: SchedulerCore;
  readonly #underWay = new Map<string, Promise<unknown>>();

  constructor(core: SchedulerCore) {
    this.#core = core;
  }

  /** Throws `Invalid` (also REQUEST_ID_REUSED), `Unavailable`. */
  async submit(job: NewJob): Promise<Submitted> {
    checkSubmission(job);
    return await this.#submit(job, { root: job.uid });
  }

  /** Starts a child of a job that is held by an executor. */
  async child(parent: LiveJob, job: NewJob, waits: Waits): Promise<void> {
    checkSubmission(job);
    const known = waits.addChild(parent, job.uid);
    const made = this.#submit(job, { root: parent.record.root, parent: parent.uid });
    await Promise.all([known, made]);
  }

  async #submit(job: NewJob, family: Family): Promise<Submitted> {
    const before = this.#underWay.get(job.uid);
    if (before !== undefined) {
      await before.catch(() => {});
      return await this.#submit(job, family);
    }
    const making = this.#make(job, family);
    this.#underWay.set(job.uid, making);
    try {
      return await making;
    } finally {
      this.#underWay.delete(job.uid);
    }
  }

  async #make(job: NewJob, family: Family): Promise<Submitted> {
    const { table, clock } = this.#core;
    const epoch = table.epoch(partitionOf(family.root));
    const queue = this.#core.queue(job.type);
    const partition = partitionOf(family.root);
    const place = queue.place(partition);
    let made: LiveJob | undefined;
    try {
      const now = clock.now().toISOString();
      made = await table.insert(recordOf(job, { ...family, epoch, place: place.order, now }));
      const { stored } = made;
      return { fresh: true, stored };
    } catch (error) {
      // It may be stored all the same, and in no queue: where the store is shared, the partition is read anew.
      if (error instanceof Unavailable && this.#core.options.shared) this.#core.failed(error, partition);
      if (!(error instanceof AlreadyExists)) throw error;
      return { fresh: false, stored: await this.#existing(job, family) };
    } finally {
      queue.entered(partition, place, made);
      if (made !== undefined) table.forget(made);
      this.#core.pump(job.type);
    }
  }

  async #existing(job: NewJob, { parent }: Family): Promise<Stored<JobRecord>> {
    const { options, table } = this.#core;
    const stored = table.live.get(job.uid)?.stored ?? (await options.jobs.get(job.uid));
    if (stored !== undefined && isRepetition(stored.value, job, parent)) {
      // A former owner may have stored it after its lanes were read here.
      if (!isOver(stored.value)) await this.#core.surface(stored);
      return stored;
    }
    throw new Invalid('REQUEST_ID_REUSED', `job ${job.uid} exists and is another: mint a new uid`);
  }
}
