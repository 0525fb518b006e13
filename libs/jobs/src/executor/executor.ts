/**
 * Runs jobs: one stream to each instance of job control, one pool of credit, one heartbeat a stream.
 * Invariants: a job runs at most once in this process at a time; what job control revokes stops; a job goes on
 * while its stream is down and its reports wait. A crash leaves nothing here: job control assigns anew.
 */
import type { Status } from '@nephos/proto/google/rpc/status';
import type {
  ExecutorHello,
  ExecutorOrder,
  JobAssignment,
  JobCancellation,
  PartitionTerm,
} from '@nephos/proto/nephos/jobs/v1/executor';
import { JobBlockReason } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Around, Internal, type ServiceContext } from '@nephos/service';
import type { JobDefinition } from '../definition.ts';
import { runJob } from '../run/job-run.ts';
import type { RunOutcome } from '../run/ledger.ts';
import { errorOf, statusOf } from '../status.ts';
import { ControlLink, type LinkOwner } from './control-link.ts';
import { HeldJob } from './held-job.ts';
import { scopeOf } from './scope.ts';
import { Terms } from './terms.ts';

/** What the executor finds job control by; a DirectoryHandle fits. */
export interface JobControlSource {
  watch(service: string): AsyncIterable<readonly { readonly address: string }[]>;
}

export interface ExecutorOptions<D> {
  readonly jobs: readonly JobDefinition<object, unknown, D>[];
  /** Handed to each job's `run`. */
  readonly deps: D;
  /** Jobs held at a time, over all instances of job control. Default 64. */
  readonly concurrency?: number;
  /** The directory, or fixed addresses (`host:port`). */
  readonly jobControl: JobControlSource | readonly string[];
  /** Wrapped around each step and each undo, the first outermost. */
  readonly around?: readonly Around[];
  /** How long jobs under way may take to end when the service stops. Default 5 s. */
  readonly stopGraceMs?: number;
}

export interface Executor {
  /** Jobs held now. */
  readonly held: number;
  /** Instances of job control with a standing stream. */
  readonly connected: number;
}

/** Runs the jobs of a service until it stops: then takes no more, waits for the grace and gives back the rest. */
export function startExecutor<D>(ctx: ServiceContext, options: ExecutorOptions<D>): Executor {
  const executor = new JobExecutor(ctx, options);
  ctx.lifecycle.onDraining(() => executor.drain());
  ctx.background('job executor', (signal) => executor.run(signal));
  return executor;
}

class JobExecutor<D> implements Executor, LinkOwner {
  readonly #ctx: ServiceContext;
  readonly #options: ExecutorOptions<D>;
  readonly #definitions: ReadonlyMap<string, JobDefinition<object, unknown, D>>;
  readonly #links = new Map<string, ControlLink>();
  readonly #held = new Map<string, HeldJob>();
  readonly #terms = new Terms();
  readonly #concurrency: number;
  #reportId = 0;
  #draining = false;
  #onEmpty: (() => void) | undefined;

  constructor(ctx: ServiceContext, options: ExecutorOptions<D>) {
    this.#ctx = ctx;
    this.#options = options;
    this.#concurrency = options.concurrency ?? 64;
    this.#definitions = new Map(options.jobs.map((job) => [job.type, job]));
    if (this.#definitions.size < options.jobs.length) {
      throw new Internal('INTERNAL', 'two job definitions of one executor have the same type');
    }
  }

  get held(): number {
    return this.#held.size;
  }

  get connected(): number {
    return [...this.#links.values()].filter((link) => link.connected).length;
  }

  drain(): void {
    this.#draining = true;
    this.#giveCredit();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { jobControl } = this.#options;
    try {
      if ('watch' in jobControl) await this.#follow(jobControl, signal);
      else {
        this.#connectTo(jobControl);
        await aborted(signal);
      }
    } finally {
      if (signal.aborted) await this.#stop();
    }
  }

  hello(link: ControlLink): ExecutorHello {
    return {
      executor: this.#ctx.instanceId,
      service: this.#ctx.name,
      types: [...this.#definitions.values()].map(({ type, version }) => ({ type, version })),
      announcement: { jobs: this.#orphans().map(({ held }) => held) },
      credit: { limit: this.#creditOf(link) },
    };
  }

  handle(link: ControlLink, { order }: ExecutorOrder): void {
    switch (order?.$case) {
      case 'assign':
        return this.#assign(link, order.value);
      case 'ack':
        return this.#heldBy(link, order.value.uid)?.acknowledge(order.value);
      case 'cancel':
        return this.#cancel(link, order.value);
      case 'revoke':
        return this.#held.get(order.value.uid)?.drop('another executor holds the job');
      case 'adopt':
        return this.#held.get(order.value.uid)?.adopt(link, order.value.epoch, order.value.token);
      case 'announcementWanted':
        return this.#announce(link, order.value.partitions, this.#orphans());
      case 'welcome':
        this.#ctx.log.info({ jobControl: link.address }, 'executor connected');
        this.#announce(link, order.value.partitions, []);
        this.#giveCredit();
    }
  }

  lost(link: ControlLink): void {
    for (const job of this.#held.values()) if (job.heldBy(link)) job.detach();
    // Another may stand for the address by now: forgotten, it would go on beside a third, and each end the other.
    if (link.over && this.#links.get(link.address) === link) this.#links.delete(link.address);
    this.#giveCredit();
  }

  async #follow(directory: JobControlSource, signal: AbortSignal): Promise<void> {
    const instances = directory.watch('job-control')[Symbol.asyncIterator]();
    const end = aborted(signal).then(() => ({ done: true, value: undefined }) as const);
    for (;;) {
      const { done, value } = await Promise.race([instances.next(), end]);
      if (done === true) break;
      this.#connectTo(value.map(({ address }) => address));
    }
    void instances.return?.();
    await aborted(signal);
  }

  #connectTo(addresses: readonly string[]): void {
    const { clients, clock, log } = this.#ctx;
    for (const [address, link] of this.#links) {
      link.want(addresses.includes(address));
      if (link.over) this.#links.delete(address);
    }
    for (const address of addresses) {
      if (this.#links.has(address)) continue;
      const link = new ControlLink({ address, owner: this, clients, clock, log });
      this.#links.set(address, link);
      link.start();
    }
    this.#giveCredit();
  }

  #assign(link: ControlLink, assignment: JobAssignment): void {
    // From an owner that stood still and does not know yet that it has a successor.
    if (this.#terms.isPast(assignment.partition, assignment.epoch)) return;
    const before = this.#held.get(assignment.uid);
    // Its announcement came too late, or was never asked for: the run goes on all the same.
    if (before?.covers(assignment) === true) return before.adopt(link, assignment.epoch, assignment.token);
    const definition = this.#definitions.get(assignment.type);
    this.#held.get(assignment.uid)?.drop('the job was assigned anew');
    const held = new HeldJob(assignment, {
      sink: link,
      version: definition?.version ?? 0,
      nextId: () => {
        this.#reportId = (this.#reportId % 0xffff_ffff) + 1;
        return this.#reportId;
      },
      onDrop: (job) => this.#dropped(job),
    });
    this.#held.set(assignment.uid, held);
    void this.#runHeld(held, assignment, definition);
  }

  async #runHeld(
    held: HeldJob,
    assignment: JobAssignment,
    definition: JobDefinition<object, unknown, D> | undefined,
  ): Promise<void> {
    const scope = scopeOf(this.#ctx, held, assignment, this.#options.around ?? []);
    let outcome: RunOutcome;
    try {
      if (definition === undefined)
        throw new Internal('JOB_TYPE_UNKNOWN', `${assignment.type} is not run here`);
      outcome = await runJob(definition, this.#options.deps, assignment, scope);
    } catch (error) {
      if (held.dropped) return;
      scope.log.error({ err: error }, 'the run of a job broke');
      outcome = brokenRun(assignment, statusOf(error));
    }
    await held.conclude(outcome);
  }

  /** What a former owner still says of a job does not count. */
  #heldBy(link: ControlLink, uid: string): HeldJob | undefined {
    const held = this.#held.get(uid);
    return held?.heldBy(link) === true ? held : undefined;
  }

  #cancel(link: ControlLink, { uid, error }: JobCancellation): void {
    const held = this.#heldBy(link, uid);
    if (held !== undefined && !held.stop.signal.aborted)
      held.stop.abort(errorOf(error ?? statusOf(undefined)));
  }

  #dropped(job: HeldJob): void {
    if (this.#held.get(job.uid) === job) this.#held.delete(job.uid);
    if (this.#held.size === 0) this.#onEmpty?.();
  }

  #orphans(): HeldJob[] {
    return [...this.#held.values()].filter((job) => job.orphaned);
  }

  /** Tells the new owner of partitions what is run here of theirs, whoever it was assigned by; and what is nobody's. */
  #announce(link: ControlLink, partitions: readonly PartitionTerm[], more: readonly HeldJob[]): void {
    this.#terms.note(partitions);
    const former = [...this.#held.values()].filter((job) =>
      partitions.some(({ partition, epoch }) => partition === job.partition && epoch > job.epoch),
    );
    const jobs = [...new Set([...former, ...more])].map((job) => job.held);
    if (jobs.length > 0) link.send({ report: { $case: 'announcement', value: { jobs } } });
  }

  /** In equal shares. An instance that the directory lists no more is on its way out: one job keeps it going. */
  #creditOf(link: ControlLink): number {
    if (this.#draining) return 0;
    if (!link.wanted) return 1;
    const sharing = [...this.#links.values()].filter(
      (other) => other === link || (other.connected && other.wanted),
    );
    return Math.ceil(this.#concurrency / sharing.length);
  }

  #giveCredit(): void {
    for (const link of this.#links.values()) {
      if (link.connected) link.send({ report: { $case: 'credit', value: { limit: this.#creditOf(link) } } });
    }
  }

  /** The service's own patience with its background work bounds it. */
  get #stopGraceMs(): number {
    return Math.min(this.#options.stopGraceMs ?? 5000, this.#ctx.config.drainGrace / 2);
  }

  async #stop(): Promise<void> {
    this.drain();
    if (this.#held.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onEmpty = resolve;
      using _limit = this.#ctx.clock.timer(this.#stopGraceMs, resolve);
      await promise;
    }
    for (const job of [...this.#held.values()]) job.drop('the executor stops');
    const links = [...this.#links.values()];
    for (const link of links) link.send({ report: { $case: 'goodbye', value: {} } });
    await Promise.all(links.map((link) => link.close()));
  }
}

/** Tries in a row of an unwinding that our own code does not get through before a person is asked. */
const mostBrokenUnwindings = 5;

function brokenRun({ unwind, attempt }: JobAssignment, error: Status): RunOutcome {
  if (unwind === undefined || attempt < mostBrokenUnwindings)
    return { kind: 'retry', error, backoffMs: 1000 };
  const message = `its unwinding breaks: ${error.message}`;
  return { kind: 'blocked', reason: JobBlockReason.UNDO_FAILED, message };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
