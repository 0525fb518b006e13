/**
 * What people and programs ask of jobs: cancel, resume, unwind; and what time asks of them.
 * Invariant: each is a synced change of the record first, then an order to whoever holds the job, so that neither
 * a crash here nor one there forgets it.
 */
import { Invalid, Precondition } from '@nephos/service';
import { recordOfThrown } from '../domain/errors.ts';
import {
  type Ending,
  type ErrorRecord,
  isOver,
  type JobRecord,
  ready,
  resumed,
  unwinding,
} from '../domain/record.ts';
import { type SchedulerCore, stopError } from './core.ts';
import type { LiveJob } from './live-job.ts';
import type { Waits } from './waits.ts';

export interface CommandsOptions {
  readonly core: SchedulerCore;
  readonly waits: Waits;
  readonly end: (job: LiveJob, ending: Ending) => Promise<void>;
}

export class Commands {
  readonly #core: SchedulerCore;
  readonly #options: CommandsOptions;

  constructor(options: CommandsOptions) {
    this.#core = options.core;
    this.#options = options;
  }

  /** Throws `NotFound`. A job that is over stays as it is. */
  async cancel(uid: string): Promise<void> {
    const job = await this.#core.table.load(uid);
    if (isOver(job.record) || job.record.cancelRequested === true) return this.#core.table.forget(job);
    this.#core.jobLog.add(job.record, '', 'cancellation was asked for');
    await this.#stop(job, { ...job.record, cancelRequested: true });
  }

  /** The job took longer than it may. */
  async timeOut(job: LiveJob): Promise<void> {
    if (isOver(job.record) || job.record.unwind !== undefined) return;
    this.#core.jobLog.add(job.record, '', 'the job timed out');
    if (job.holder !== undefined) return this.#core.tellStop(job);
    await this.#stop(job, job.record);
  }

  /** Throws `NotFound`, `Precondition`. */
  async resume(uid: string): Promise<void> {
    const job = await this.#blocked(uid);
    this.#core.jobLog.add(job.record, '', 'resumed by hand');
    await this.#core.requeue(job, resumed, 'resumed');
  }

  /** `skipSteps` were checked. Throws `NotFound`, `Precondition`. */
  async unwind(uid: string, skipSteps: readonly string[]): Promise<void> {
    const job = await this.#blocked(uid);
    const { record } = job;
    const given = skipSteps.length === 0 ? '' : `, giving up the undo of ${skipSteps.join(', ')}`;
    this.#core.jobLog.add(record, '', `unwound by hand${given}`);
    const skipped = {
      ...record,
      skipSteps: [...new Set([...(record.skipSteps ?? []), ...skipSteps])],
      lenient: true,
    };
    await this.#unwind(
      job,
      skipped,
      whyUnwound(record),
      record.unwind?.cancelled ?? record.cancelRequested === true,
    );
  }

  async #blocked(uid: string): Promise<LiveJob> {
    const job = await this.#core.table.load(uid);
    const { state } = job.record;
    if (state === 'blocked') return job;
    this.#core.table.forget(job);
    const description = `the job is ${state}, not blocked`;
    throw new Precondition('STATE_FORBIDS', description, {
      preconditions: [{ type: 'STATE_FORBIDS', subject: `jobs/${uid}`, description }],
    });
  }

  async #stop(job: LiveJob, record: JobRecord): Promise<void> {
    const core = this.#core;
    const neverRan = !job.dispatched && record.mayHaveRun !== true && record.startedAt === undefined;
    if (neverRan) {
      core.bypass(job);
      core.queue(record.type).leave(job);
      job.record = record;
      return await this.#options.end(job, { state: 'cancelled', error: recordOfThrown(stopError(record)) });
    }
    // An executor that may come back within the grace is told then.
    if (job.holder !== undefined || job.lostBy !== undefined || core.inGrace(job)) {
      await core.table.change(job, record, 'cancel-requested');
      core.tellStop(job);
      await this.#options.waits.cancelChildren(record);
      return core.table.forget(job);
    }
    if (record.unwind !== undefined) {
      await core.table.change(job, record, 'cancel-requested');
      return core.table.forget(job);
    }
    core.bypass(job);
    core.queue(record.type).leave(job);
    await this.#unwind(job, record, recordOfThrown(stopError(record)), record.cancelRequested === true);
  }

  /** Unwinds a job that no executor holds, once its children are over. */
  async #unwind(job: LiveJob, record: JobRecord, error: ErrorRecord, cancelled: boolean): Promise<void> {
    const core = this.#core;
    const next = unwinding(record, error, cancelled);
    if ((record.children?.length ?? 0) === 0) {
      return await core.requeue(job, (_current, order) => ready(next, order), 'unwinding');
    }
    job.record = next;
    await this.#options.waits.sleep(job, record.children ?? []);
    await this.#options.waits.cancelChildren(next);
  }
}

/** They go on record: more than a person would name could outgrow it. Throws `Invalid`. */
export function checkSteps(names: readonly string[]): void {
  if (names.length <= 100 && names.every((name) => name.length <= 256)) return;
  const description = 'has at most 100 names of at most 256 characters';
  throw new Invalid('FIELD_INVALID', `skip_steps ${description}`, {
    fields: [{ field: 'skip_steps', description }],
  });
}

function whyUnwound(record: JobRecord): ErrorRecord {
  if (record.unwind !== undefined) return record.unwind.error;
  return recordOfThrown(
    new Precondition('JOB_BLOCKED', `unwound by hand: ${record.block?.message ?? 'it was blocked'}`),
  );
}
