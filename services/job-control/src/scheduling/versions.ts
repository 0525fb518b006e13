/**
 * Jobs whose steps were recorded under one version of their definition, while executors of several are about.
 * Invariant: such a job goes to an executor of its own version as long as one is connected, even if it has to wait
 * for room, or may still come: whoever takes a partition, or lost its last executor of a version, waits out the
 * grace. Only then it goes to whoever is there, and ends up BLOCKED if that one cannot go on with it.
 */
import type { Clock } from '@nephos/service';
import type { JobRecord } from '../domain/record.ts';
import type { LiveJob } from './live-job.ts';
import type { Session, Sessions } from './session.ts';

export interface VersionsOptions {
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly graceMs: number;
  /** Monotonic: when the partition was taken; undefined: it is not owned. */
  readonly takenAt: (partition: number) => number | undefined;
  readonly onPatienceOver: (type: string) => void;
}

export class Versions {
  readonly #options: VersionsOptions;
  /** Waiting for an executor of their own version, by type. */
  readonly #parked = new Map<string, Set<LiveJob>>();
  /** Monotonic: when an executor of the version left, by type and version. */
  readonly #leftAt = new Map<string, number>();

  constructor(options: VersionsOptions) {
    this.#options = options;
  }

  /** The executor for a job; undefined: it has to wait for one of its version. There is room for its type. */
  pick({ record }: LiveJob): Session | undefined {
    const { sessions } = this.#options;
    const { type, version } = record;
    return sessions.pick(type, version, needsItsVersion(record) && this.#isAwaited(record));
  }

  park(job: LiveJob): void {
    const { type } = job.record;
    const parked = this.#parked.get(type) ?? new Set();
    this.#parked.set(type, parked.add(job));
    job.queued = true;
    this.#look(type);
  }

  /** One that waited and can be placed now. */
  take(type: string): LiveJob | undefined {
    const parked = this.#parked.get(type);
    if (parked === undefined) return undefined;
    for (const job of parked) {
      if (job.queued && this.pick(job) === undefined) continue;
      parked.delete(job);
      if (!job.queued) continue;
      job.queued = false;
      return job;
    }
    return undefined;
  }

  /** It went another way. */
  leave(job: LiveJob): void {
    this.#parked.get(job.record.type)?.delete(job);
  }

  /** The partition is another's. */
  drop(partition: number): void {
    for (const parked of this.#parked.values())
      for (const job of parked) if (job.record.partition === partition) parked.delete(job);
  }

  /** An executor left: it, or another of its versions, may come back. */
  left({ versions }: Session): void {
    const now = this.#options.clock.monotonic();
    for (const [type, version] of versions) {
      this.#leftAt.set(keyOf(type, version), now);
      if ((this.#parked.get(type)?.size ?? 0) > 0) this.#look(type);
    }
  }

  #isAwaited({ type, version, partition }: JobRecord): boolean {
    const { sessions, clock, graceMs, takenAt } = this.#options;
    if (sessions.knows(type, version)) return true;
    const since = Math.max(
      this.#leftAt.get(keyOf(type, version)) ?? -Infinity,
      takenAt(partition) ?? -Infinity,
    );
    return clock.monotonic() - since < graceMs;
  }

  /** Looks again when nobody is awaited any more. */
  #look(type: string): void {
    const { clock, graceMs, onPatienceOver } = this.#options;
    clock.timer(graceMs + 10, () => onPatienceOver(type));
  }
}

/** Steps on record fit the version that recorded them; what has none runs under any. */
function needsItsVersion({ steps, lenient }: JobRecord): boolean {
  return lenient !== true && steps !== undefined && steps.length > 0;
}

function keyOf(type: string, version: number): string {
  return `${type}@${version}`;
}
