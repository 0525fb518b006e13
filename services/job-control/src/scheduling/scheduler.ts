/**
 * Job control as one thing: takes partitions, runs the scheduling parts and their background work.
 * See core.ts for what holds.
 */
import type { Partitions } from '../adapters/partitions.ts';
import { Commands } from './commands.ts';
import { type CoreOptions, SchedulerCore } from './core.ts';
import { Due } from './due.ts';
import { Executors } from './executors.ts';
import { Reports } from './reports.ts';
import { Submissions } from './submissions.ts';
import { adoptSleepers } from './takeover.ts';
import { Waits } from './waits.ts';

const sweepMs = 250;
const progressMs = 3000;

export class Scheduler {
  readonly core: SchedulerCore;
  readonly submissions: Submissions;
  readonly commands: Commands;
  readonly executors: Executors;
  readonly #waits: Waits;
  readonly #due: Due;

  constructor(options: CoreOptions) {
    this.core = new SchedulerCore(options);
    this.#due = new Due(this.core, (job) => this.commands.timeOut(job));
    const onDue = (partition: number, at: number): void => this.#due.note(partition, at);
    this.#waits = new Waits(this.core, { cancel: (uid) => this.commands.cancel(uid), onDue });
    this.submissions = new Submissions(this.core);
    const reports = new Reports({
      core: this.core,
      waits: this.#waits,
      submissions: this.submissions,
      onDue,
    });
    this.commands = new Commands({
      core: this.core,
      waits: this.#waits,
      end: (job, ending) => reports.end(job, ending),
    });
    this.executors = new Executors(this.core, reports);
  }

  set leases(leases: Partitions) {
    this.core.leases = leases;
  }

  /** From here on jobs are left to the next owner, as they are. */
  drain(): void {
    this.core.stopping = true;
  }

  taken(partition: number, epoch: number): void {
    this.core.take(partition, epoch);
    adoptSleepers(partition, { core: this.core, waits: this.#waits, due: this.#due }).catch(
      (error: unknown) => {
        this.core.options.onFailure(error);
      },
    );
  }

  lost(partition: number): void {
    this.core.lose(partition);
  }

  /** Time-outs, silent executors and progress, until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.core;
    let progressAt = clock.monotonic();
    while (!signal.aborted) {
      await clock.sleep(sweepMs, signal).catch(() => {});
      this.executors.dropSilent();
      this.#timeOutLate();
      if (clock.monotonic() - progressAt < progressMs) continue;
      progressAt = clock.monotonic();
      await this.#writeProgress();
    }
  }

  #timeOutLate(): void {
    const now = this.core.clock.monotonic();
    for (const job of this.core.table.live.values()) {
      if (!job.dispatched || job.toldLate || job.leftMs(now) > 0) continue;
      job.toldLate = true;
      this.commands.timeOut(job).catch((error: unknown) => {
        job.toldLate = false;
        this.core.log.warn({ err: error, job: job.uid }, 'a job could not be timed out');
      });
    }
  }

  /** Progress that nothing else has written meanwhile. */
  async #writeProgress(): Promise<void> {
    const { table, log } = this.core;
    const changed = [...table.live.values()].filter(
      ({ progress, record, holder }) =>
        holder !== undefined && progress !== undefined && progress !== record.progress,
    );
    const writes = changed.map((job) => table.change(job, job.record, undefined));
    for (const result of await Promise.allSettled(writes)) {
      if (result.status === 'rejected')
        log.warn({ err: result.reason as unknown }, 'progress was not written');
    }
  }
}
