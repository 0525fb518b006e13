/**
 * What executors tell of their jobs, turned into changes of records.
 * Invariants: a report counts only from the job's holder under its current token; it is acknowledged only once
 * what it says is synced; the same report twice changes nothing more. The slot of a job that is over is free at
 * once, before its end is synced.
 */

import { statusOf } from '@nephos/jobs/protocol';
import type { ChildOutcome, JobReport } from '@nephos/proto/nephos/jobs/v1/executor';
import { JobBlockReason, JobState, JobStepState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Invalid } from '@nephos/service';
import { stepRecord } from '../domain/assignment.ts';
import { errorRecord, statusMessage } from '../domain/errors.ts';
import {
  type BlockReason,
  blocked,
  delayed,
  type Ending,
  isOver,
  type JobRecord,
  over,
  stepText,
  unwinding,
  withStep,
} from '../domain/record.ts';
import { blockReasons } from '../domain/view.ts';
import { type SchedulerCore, stopError } from './core.ts';
import type { LiveJob } from './live-job.ts';
import type { Session } from './session.ts';
import type { Submissions } from './submissions.ts';
import type { Waits } from './waits.ts';

type Body = NonNullable<JobReport['report']>;
type Of<K extends Body['$case']> = Extract<Body, { $case: K }>['value'];

const reasonOf = new Map<JobBlockReason, BlockReason>(
  Object.entries(blockReasons).map(([reason, message]) => [message, reason as BlockReason]),
);

/** What the steps of a job may hold on record: it is written with each further step and sent to each executor. */
const mostStepText = 2 * 2 ** 20;
/** What children may give together: it goes to the parent's executor in one answer. */
const mostResultText = 4 * 2 ** 20;

export interface ReportsOptions {
  readonly core: SchedulerCore;
  readonly waits: Waits;
  readonly submissions: Submissions;
  /** A job waits for a point in time. */
  readonly onDue: (partition: number, at: number) => void;
}

export class Reports {
  readonly #core: SchedulerCore;
  readonly #options: ReportsOptions;

  constructor(options: ReportsOptions) {
    this.#core = options.core;
    this.#options = options;
  }

  handle(session: Session, report: JobReport): void {
    const job = this.#core.table.live.get(report.uid);
    const holder = job?.holder;
    if (job === undefined || holder?.session !== session || BigInt(holder.token) !== report.token) {
      // Its partition went to another instance, which adopts the job and takes the report: nothing is refused here.
      if (session.gone.get(report.uid) === report.token) return;
      const message = 'the job is not held under this token';
      session.acknowledge(report.reportId, report.uid, { $case: 'refused', value: { message } });
      return;
    }
    if (report.report === undefined) return;
    if (this.#note(job, report.report)) return;
    this.#record(session, job, report.reportId, report.report).catch((error: unknown) => {
      // Nothing was recorded: the executor keeps the report and sends it to whoever owns the job next.
      this.#core.log.warn(
        { err: error, job: job.uid, report: report.report?.$case },
        'a report was not recorded',
      );
    });
  }

  /** Reports that only memory keeps. */
  #note(job: LiveJob, body: Body): boolean {
    const now = this.#core.now();
    switch (body.$case) {
      case 'stepStarted':
        job.step(body.value.name, JobStepState.RUNNING, now);
        break;
      case 'undoStarted':
        job.step(body.value.name, JobStepState.UNDOING, now);
        break;
      case 'stepFailed':
        job.step(body.value.name, JobStepState.FAILED, now, errorRecord(body.value.error));
        break;
      case 'progress':
        job.progress = { percent: body.value.percent, message: body.value.message };
        break;
      case 'annotation':
        this.#core.jobLog.add(job.record, body.value.step, body.value.text);
        break;
      default:
        return false;
    }
    this.#core.table.touch(job.uid);
    return true;
  }

  async #record(session: Session, job: LiveJob, reportId: number, body: Body): Promise<void> {
    const { table } = this.#core;
    switch (body.$case) {
      case 'stepFinished': {
        const { step, definitionVersion } = body.value;
        if (step === undefined) break;
        job.stepOver(step.name);
        const next = withStep(job.record, stepRecord(step), definitionVersion);
        if (step.error === undefined && stepText(next) > mostStepText)
          return tooLarge(session, job, reportId, 'the inputs and results of its steps', mostStepText);
        await table.change(job, next, 'step-finished');
        break;
      }
      case 'stepUndone': {
        const { step } = body.value;
        if (step === undefined) break;
        job.stepOver(step.name);
        await table.change(job, withStep(job.record, stepRecord(step), job.record.version), 'step-undone');
        break;
      }
      case 'child':
        return await this.#child(session, job, reportId, body.value);
      case 'wait':
        return await this.#wait(session, job, reportId, body.value);
      case 'unwinding':
        return await this.#unwinding(session, job, reportId, body.value);
      case 'retry':
        await this.#retry(job, body.value);
        break;
      case 'blocked':
        await this.#blocked(job, body.value);
        break;
      case 'finished':
        await this.#finished(job, body.value);
    }
    session.acknowledge(reportId, job.uid, { $case: 'taken', value: {} });
  }

  async #child(session: Session, job: LiveJob, reportId: number, { job: child }: Of<'child'>): Promise<void> {
    try {
      if (child !== undefined) await this.#options.submissions.child(job, child, this.#options.waits);
      session.acknowledge(reportId, job.uid, { $case: 'taken', value: {} });
    } catch (error) {
      session.acknowledge(reportId, job.uid, { $case: 'error', value: statusOf(error) });
    }
  }

  async #wait(session: Session, job: LiveJob, reportId: number, { uids }: Of<'wait'>): Promise<void> {
    const { waits } = this.#options;
    const token = job.holder?.token;
    const records = await waits.recordsOf(uids);
    const open = uids.filter((uid) => {
      const record = records.get(uid);
      return record !== undefined && !isOver(record);
    });
    if (job.holder?.token !== token) return;
    if (open.length === 0) {
      const outcomes = uids.map((uid) => outcomeOf(uid, records.get(uid)));
      if (outcomes.reduce((text, { result }) => text + result.length, 0) > mostResultText)
        return tooLarge(session, job, reportId, 'the results of its children', mostResultText);
      return session.acknowledge(reportId, job.uid, { $case: 'children', value: { outcomes } });
    }
    // Told to stop meanwhile: it does not sleep, the order to unwind is on its way to the executor.
    if (job.record.cancelRequested === true) return;
    this.#core.release(job);
    await waits.sleep(job, open);
    session.acknowledge(reportId, job.uid, { $case: 'suspended', value: {} });
    this.#core.pumpSession(session);
  }

  /** Its children unwind before it does. */
  async #unwinding(session: Session, job: LiveJob, reportId: number, value: Of<'unwinding'>): Promise<void> {
    const { waits } = this.#options;
    const next = unwinding(job.record, errorRecord(value.error), value.cancelled);
    await this.#core.table.change(job, next, 'unwinding');
    const open = await waits.cancelChildren(job.record);
    if (open.length === 0 || job.holder?.session !== session) {
      return session.acknowledge(reportId, job.uid, { $case: 'taken', value: {} });
    }
    this.#core.release(job);
    await waits.sleep(job, open);
    session.acknowledge(reportId, job.uid, { $case: 'suspended', value: {} });
    this.#core.pumpSession(session);
  }

  async #retry(job: LiveJob, { error, backoff }: Of<'retry'>): Promise<void> {
    const core = this.#core;
    core.release(job);
    const at = core.now() + Number(backoff);
    const { record } = job;
    core.jobLog.add(record, '', `try ${record.attempt + 1} failed: ${error?.message ?? 'no error'}`);
    await core.table.change(job, delayed(record, errorRecord(error), Number(backoff), at), 'retrying');
    this.#options.onDue(record.partition, at);
    core.table.forget(job);
    // Asked to stop while the report was on its way.
    if (core.mustStop(job)) {
      await core.unwindLater(await core.table.load(job.uid), stopError(job.record));
    }
  }

  async #blocked(job: LiveJob, { reason, message }: Of<'blocked'>): Promise<void> {
    const core = this.#core;
    core.release(job);
    core.jobLog.add(job.record, '', `blocked: ${message}`);
    core.log.warn(
      { job: job.uid, root: job.record.root, type: job.record.type, reason: message },
      'a job is blocked',
    );
    const why = reasonOf.get(reason) ?? 'step-mismatch';
    await core.table.change(job, blocked(job.record, why, message, core.now()), 'blocked');
    core.table.forget(job);
  }

  async #finished(job: LiveJob, { outcome }: Of<'finished'>): Promise<void> {
    this.#core.release(job);
    await this.end(job, endingOf(outcome));
  }

  /** The job is over; whoever waits for it is woken. */
  async end(job: LiveJob, ending: Ending): Promise<void> {
    const core = this.#core;
    await core.table.change(job, over(job.record, ending, core.now()), ending.state);
    core.table.forget(job);
    core.jobLog.close(job.uid);
    this.#options.waits.forget(job.uid);
    await this.#options.waits.childOver(job.record);
  }
}

/** Sent whole it would break the stream, so the job is told instead. */
function tooLarge(session: Session, job: LiveJob, reportId: number, what: string, most: number): void {
  const error = new Invalid('MESSAGE_TOO_LARGE', `${what} are larger than ${most} characters together`);
  session.acknowledge(reportId, job.uid, { $case: 'error', value: statusOf(error) });
}

function endingOf(outcome: Of<'finished'>['outcome']): Ending {
  switch (outcome?.$case) {
    case 'result':
      return { state: 'succeeded', result: outcome.value };
    case 'cancelled':
      return { state: 'cancelled', error: errorRecord(outcome.value) };
    default:
      return { state: 'failed', error: errorRecord(outcome?.value) };
  }
}

function outcomeOf(uid: string, record: JobRecord | undefined): ChildOutcome {
  const state = record?.state;
  return {
    uid,
    state:
      state === 'succeeded' ? JobState.SUCCEEDED : state === 'failed' ? JobState.FAILED : JobState.CANCELLED,
    result: record?.result ?? '',
    error: record?.error && statusMessage(record.error),
  };
}
