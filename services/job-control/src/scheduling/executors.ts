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
import { anybody, blocked, isAbove, isOver, lostOnce, ready } from '../domain/record.ts';
import { type SchedulerCore, stopError } from './core.ts';
import type { LiveJob } from './live-job.ts';
import { NotOwned } from './not-owned.ts';
import type { Reports } from './reports.ts';
import { Session } from './session.ts';

/** Executors lost with a job, without a step getting done, before a person is asked. */
const mostLosses = 20;
const storePauseMs = 200;
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
      value: {
        instance: options.instance,
        heartbeatInterval: BigInt(options.heartbeatMs),
        partitions: this.#core.terms,
      },
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
          this.#announced(session, report.value.jobs).catch((error: unknown) => this.#core.failed(error));
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
    const job = await this.#find(session, held);
    // Lost again meanwhile: the next owner asks for it.
    if (job === undefined || this.#core.table.live.get(job.uid) !== job) return;
    const { record, holder } = job;
    // Announced twice, or assigned meanwhile: it has only to learn under which fence.
    if (holder?.session === session) this.#core.tellAdopted(job);
    else if (this.#isHolder(session, job, held)) this.#core.adopt(job, session);
    // Under a higher epoch it is not for this instance to say.
    else if (Number(held.epoch) <= record.epoch) session.order({ $case: 'revoke', value: { uid: held.uid } });
    this.#core.table.forget(job);
  }

  /** The job announced, if it is for this instance to say whose it is. */
  async #find(session: Session, { uid }: HeldJob): Promise<LiveJob | undefined> {
    const { table, clock, sessions } = this.#core;
    while (sessions.all.has(session)) {
      try {
        return await table.load(uid);
      } catch (error) {
        // Another instance's: that one is told too.
        if (error instanceof NotOwned) return undefined;
        if (error instanceof NotFound) {
          session.order({ $case: 'revoke', value: { uid } });
          return undefined;
        }
        if (!(error instanceof Unavailable)) throw error;
        // The store is away: what is announced is not to be forgotten, or it would be run again.
        await clock.sleep(storePauseMs);
      }
    }
    return undefined;
  }

  #isHolder(session: Session, job: LiveJob, held: HeldJob): boolean {
    const { record, holder, lostBy } = job;
    const token = Number(held.token);
    if (isOver(record) || record.lane?.startsWith('ready/') !== true) return false;
    if (holder !== undefined) return holder.session.executor === session.executor && holder.token === token;
    if (lostBy !== undefined) return lostBy.executor === session.executor && lostBy.token === token;
    if (job.dispatched) return isFormer(session, job, held);
    if (Number(held.epoch) >= record.epoch) return false;
    if (record.heldBy !== anybody) return record.heldBy === session.executor;
    return isAbove({ epoch: Number(held.epoch), token }, record.fence);
  }

  #lost(session: Session): void {
    const { sessions, clock, options, log } = this.#core;
    if (!sessions.all.has(session)) return;
    sessions.remove(session);
    this.#core.versions.left(session);
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
      job.former = { executor: session.executor, token, unwound: job.record.unwind !== undefined };
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

/** It came back after the grace, and before anybody else took the job. */
function isFormer(
  session: Session,
  { record, former, lastToken }: LiveJob,
  { epoch, token }: HeldJob,
): boolean {
  if (former === undefined || former.executor !== session.executor) return false;
  const same = Number(epoch) === record.epoch && Number(token) === former.token && former.token === lastToken;
  return same && former.unwound === (record.unwind !== undefined);
}
