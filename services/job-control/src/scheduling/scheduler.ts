/**
 * Job control as one thing: takes partitions, runs the scheduling parts and their background work.
 * See core.ts for what holds.
 */
import { type Lane, laneOf } from '../domain/lane.ts';
import { Commands } from './commands.ts';
import { type CoreOptions, type Ownership, SchedulerCore } from './core.ts';
import { Due } from './due.ts';
import { Executors } from './executors.ts';
import { Reports } from './reports.ts';
import { Submissions } from './submissions.ts';
import { adoptSleepers, adoptStragglers } from './takeover.ts';
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

  set leases(leases: Ownership) {
    this.core.leases = leases;
  }

  /** From here on jobs are left to the next owner, as they are. */
  drain(): void {
    this.core.stopping = true;
  }

  taken(partition: number, epoch: number, handed: boolean): void {
    const { core } = this;
    core.take(partition, epoch, handed);
    const options = { core, waits: this.#waits, due: this.#due };
    const failed = (error: unknown): void => core.failed(error, partition);
    adoptSleepers(partition, options).catch(failed);
    if (!core.options.shared) return;
    core.clock.timer(core.options.stragglersMs, () => {
      if (core.owns(partition, epoch)) adoptStragglers(partition, options).catch(failed);
    });
  }

  /** Resolves once all that was on its way is written. */
  lost(partition: number): Promise<void> {
    return this.core.lose(partition);
  }

  /** By type: jobs of the partitions owned that wait for an executor; those that nobody here can run, left out. */
  async depths(): Promise<Map<string, number>> {
    const held = new Map<string, number>();
    for (const { holder, record } of this.core.table.live.values())
      if (holder !== undefined) held.set(record.type, (held.get(record.type) ?? 0) + 1);
    const depths = new Map<string, number>();
    for (const type of this.core.queues.keys())
      depths.set(type, Math.max(0, (await this.#count('ready', type)) - (held.get(type) ?? 0)));
    return depths;
  }

  /** By lane: jobs of the partitions owned that wait for something else. */
  async sleepers(): Promise<Map<Lane, number>> {
    const lanes = ['delayed', 'suspended', 'blocked'] as const;
    return new Map(
      await Promise.all(lanes.map(async (lane) => [lane, await this.#count(lane, '')] as const)),
    );
  }

  async #count(lane: Lane, type: string): Promise<number> {
    const { partitions, options } = this.core;
    const counts = partitions.map((partition) =>
      options.jobs.documents.count({ lane: laneOf(lane, partition, type), order: { gte: 0 } }),
    );
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
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
