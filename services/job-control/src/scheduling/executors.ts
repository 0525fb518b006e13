/**
 * The executors' streams: hello, credit, heartbeats, announcements, reports; and what happens when one is lost.
 * Invariants: an executor has one stream; a job whose stream broke waits out the grace for its executor to come
 * back, then goes to another under a new token; an executor that announces a job that is not its own (any more)
 * is told to drop it.
 */
import type {
  ConnectRequest,
  ConnectResponse,
  ExecutorReport,
  HeldJob,
} from '@nephos/proto/nephos/jobs/v1/executor';
import { Invalid, NotFound, Unavailable } from '@nephos/service';
import { blocked, isAbove, isOver, lostOnce, ready } from '../domain/record.ts';
import { type SchedulerCore, stopError } from './core.ts';
import type { LiveJob } from './live-job.ts';
import type { Reports } from './reports.ts';
import { Session } from './session.ts';

/** Executors lost with a job, without a step getting done, before a person is asked. */
const mostLosses = 20;
/** Heartbeats missed before an executor counts as lost. */
const patience = 4;

export class Executors {
  readonly #core: SchedulerCore;
  readonly #reports: Reports;

  constructor(core: SchedulerCore, reports: Reports) {
    this.#core = core;
    this.#reports = reports;
  }

  async *connect(requests: AsyncIterable<ConnectRequest>): AsyncGenerator<ConnectResponse> {
    const frames = requests[Symbol.asyncIterator]();
    const first = await frames.next();
    const hello = first.done === true ? undefined : first.value.reports[0]?.report;
    if (first.done === true || hello?.$case !== 'hello' || hello.value.executor === '') {
      throw new Invalid(
        'FIELD_INVALID',
        'the first report of a stream is a hello with the id of the executor',
      );
    }
    const session = new Session(hello.value, this.#core.clock.monotonic());
    this.#begin(session);
    const announced = hello.value.announcement?.jobs ?? [];
    this.#read(session, frames, first.value.reports.slice(1), announced).catch((error: unknown) => {
      this.#core.log.debug({ err: error, executor: session.executor }, "an executor's stream broke");
    });
    try {
      for await (const orders of session.orders) yield { orders: [...orders] };
    } finally {
      this.#lost(session);
      void frames.return?.();
    }
  }

  /** Ends the streams of executors that were not heard of for too long. */
  dropSilent(): void {
    const limit = this.#core.clock.monotonic() - patience * this.#core.options.heartbeatMs;
    for (const session of this.#core.sessions.all) {
      if (session.heardAt >= limit) continue;
      this.#core.log.warn(
        { executor: session.executor, service: session.service },
        'an executor fell silent',
      );
      this.#lost(session);
      session.orders.end();
    }
  }

  #begin(session: Session): void {
    const { sessions, options, log } = this.#core;
    for (const before of sessions.all) {
      if (before.executor !== session.executor) continue;
      this.#lost(before);
      before.orders.end();
    }
    sessions.add(session);
    session.order({
      $case: 'welcome',
      value: { instance: options.instance, heartbeatInterval: BigInt(options.heartbeatMs) },
    });
    log.info(
      { executor: session.executor, service: session.service, limit: session.limit },
      'an executor connected',
    );
  }

  async #read(
    session: Session,
    frames: AsyncIterator<ConnectRequest>,
    reports: readonly ExecutorReport[],
    announced: readonly HeldJob[],
  ): Promise<void> {
    try {
      await this.#announced(session, announced);
      this.#handle(session, reports);
      for (;;) {
        const frame = await frames.next();
        if (frame.done === true) break;
        session.heardAt = this.#core.clock.monotonic();
        this.#handle(session, frame.value.reports);
      }
    } finally {
      session.orders.end();
    }
  }

  #handle(session: Session, reports: readonly ExecutorReport[]): void {
    for (const { report } of reports) {
      switch (report?.$case) {
        case 'job':
          this.#reports.handle(session, report.value);
          break;
        case 'credit':
          session.limit = report.value.limit;
          break;
        case 'announcement':
          this.#announced(session, report.value.jobs).catch((error: unknown) =>
            this.#core.options.onFailure(error),
          );
          break;
        case 'goodbye':
          session.leaving = true;
      }
    }
    this.#core.pumpSession(session);
  }

  async #announced(session: Session, jobs: readonly HeldJob[]): Promise<void> {
    await Promise.all(jobs.map((held) => this.#announcedOne(session, held)));
  }

  async #announcedOne(session: Session, held: HeldJob): Promise<void> {
    let job: LiveJob | undefined;
    try {
      job = await this.#core.table.load(held.uid);
    } catch (error) {
      // Another instance's: that one is asked too. What is not there at all is nobody's.
      if (error instanceof Unavailable) return;
      if (!(error instanceof NotFound)) throw error;
    }
    if (job !== undefined && this.#isHolder(session, job, held)) this.#core.adopt(job, session);
    else session.order({ $case: 'revoke', value: { uid: held.uid } });
    if (job !== undefined) this.#core.table.forget(job);
  }

  #isHolder(session: Session, job: LiveJob, held: HeldJob): boolean {
    const { record, holder, lostBy } = job;
    const token = Number(held.token);
    if (isOver(record) || record.lane?.startsWith('ready/') !== true) return false;
    if (holder !== undefined) return holder.session.executor === session.executor && holder.token === token;
    if (lostBy !== undefined) return lostBy.executor === session.executor && lostBy.token === token;
    if (job.dispatched || Number(held.epoch) >= record.epoch) return false;
    return isAbove({ epoch: Number(held.epoch), token }, record.fence);
  }

  #lost(session: Session): void {
    const { sessions, clock, options, log } = this.#core;
    if (!sessions.all.has(session)) return;
    sessions.remove(session);
    log.info(
      { executor: session.executor, service: session.service, jobs: session.held.size },
      'an executor left',
    );
    const jobs = [...session.held.values()];
    session.held.clear();
    for (const job of jobs) {
      const token = job.holder?.token ?? 0;
      job.release();
      job.lostBy = { executor: session.executor, token };
      this.#core.table.touch(job.uid);
      const again = (): void => {
        if (job.lostBy?.token === token) this.#assignAnew(job, session.leaving);
      };
      if (session.leaving) again();
      else clock.timer(options.graceMs, again);
    }
  }

  #assignAnew(job: LiveJob, expected: boolean): void {
    job.lostBy = undefined;
    if (this.#core.stopping || this.#core.table.live.get(job.uid) !== job) return;
    this.#requeue(job, expected).catch((error: unknown) => {
      this.#core.log.warn({ err: error, job: job.uid }, 'a job could not be assigned anew');
    });
  }

  async #requeue(job: LiveJob, expected: boolean): Promise<void> {
    const core = this.#core;
    if (core.mustStop(job)) return await core.unwindLater(job, stopError(job.record));
    if (expected) return await core.requeue(job, ready, 'queued');
    core.jobLog.add(job.record, '', 'its executor was lost');
    if ((job.record.losses ?? 0) + 1 < mostLosses) {
      return await core.requeue(job, (record, order) => ready(lostOnce(record), order), 'queued');
    }
    const message = `${mostLosses} executors were lost with it, one after the other`;
    await core.table.change(
      job,
      blocked(lostOnce(job.record), 'executors-lost', message, core.now()),
      'blocked',
    );
    core.table.forget(job);
  }
}
