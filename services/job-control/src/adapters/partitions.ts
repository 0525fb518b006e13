/**
 * Which partitions this instance owns, by lease documents {owner, epoch, beat}.
 * Invariants: an owner that could not renew for most of a lease stops by itself, before another may take over;
 * a lease is taken only after its beat stood still for a whole lease on this instance's own monotonic clock, or at
 * once where the store is exclusive or the owner let go. Each change of owner raises the epoch. A crash leaves the
 * lease: the next owner takes it by the same rule.
 */
import { AlreadyExists, type Clock, Conflict } from '@nephos/service';
import type { Collection, Stored } from '@nephos/store';
import type { Logger } from 'pino';
import { partitions } from '../domain/lane.ts';
import type { LeaseRecord } from './collections.ts';

export interface PartitionOptions {
  readonly leases: Collection<LeaseRecord>;
  readonly owner: string;
  readonly address: () => string;
  /** True: whoever held them before is dead. */
  readonly exclusive: boolean;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onTaken: (partition: number, epoch: number) => void;
  readonly onLost: (partition: number) => void;
}

interface Owned {
  readonly epoch: number;
  stored: Stored<LeaseRecord>;
  renewedAt: number;
}

interface Seen {
  readonly revision: number;
  readonly since: number;
}

const leaseId = (partition: number): string => `partition-${partition}`;

export class Partitions {
  readonly #options: PartitionOptions;
  readonly #owned = new Map<number, Owned>();
  readonly #seen = new Map<number, Seen>();

  constructor(options: PartitionOptions) {
    this.#options = options;
  }

  /** Undefined: another instance owns it, or nobody yet. */
  epochOf(partition: number): number | undefined {
    return this.#owned.get(partition)?.epoch;
  }

  get owned(): readonly number[] {
    return [...this.#owned.keys()];
  }

  /** One look at all leases: takes what is free, renews what is owned. */
  async tend(): Promise<void> {
    const all = Array.from({ length: partitions }, (_, partition) => partition);
    const found = await this.#options.leases.getMany(all.map(leaseId));
    const byId = new Map(found.map((lease) => [lease.id, lease]));
    await Promise.all(all.map((partition) => this.#tendOne(partition, byId.get(leaseId(partition)))));
  }

  /** Renews until aborted, then lets go, so that a successor need not wait. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, leaseMs, exclusive } = this.#options;
    using _guard = clock.every(leaseMs / 4, () => this.#stopOverdue());
    while (!signal.aborted) {
      if (!exclusive || this.#owned.size < partitions) await this.tend();
      await clock.sleep(leaseMs / 3, signal).catch(() => {});
    }
    await this.#letGo();
  }

  /** A write met another epoch: the partition is another's. */
  lost(partition: number): void {
    if (!this.#owned.delete(partition)) return;
    this.#options.log.warn({ partition }, 'a partition of jobs was lost');
    this.#options.onLost(partition);
  }

  async #tendOne(partition: number, lease: Stored<LeaseRecord> | undefined): Promise<void> {
    const owned = this.#owned.get(partition);
    if (owned !== undefined) return await this.#renew(partition, owned);
    if (lease === undefined) return await this.#create(partition);
    if (this.#isFree(partition, lease)) await this.#take(partition, lease);
  }

  #isFree(partition: number, lease: Stored<LeaseRecord>): boolean {
    const { exclusive, owner, clock, leaseMs } = this.#options;
    if (exclusive || lease.value.owner === '' || lease.value.owner === owner) return true;
    const now = clock.monotonic();
    const seen = this.#seen.get(partition);
    if (seen?.revision === lease.revision) return now - seen.since >= leaseMs;
    this.#seen.set(partition, { revision: lease.revision, since: now });
    return false;
  }

  async #create(partition: number): Promise<void> {
    const { leases, owner, address } = this.#options;
    const lease = { owner, address: address(), epoch: 1, beat: 1 };
    try {
      this.#own(partition, await leases.insert(leaseId(partition), lease));
    } catch (error) {
      if (!(error instanceof AlreadyExists)) throw error;
    }
  }

  async #take(partition: number, lease: Stored<LeaseRecord>): Promise<void> {
    const { leases, owner, address } = this.#options;
    const next = { ...lease.value, owner, address: address(), epoch: lease.value.epoch + 1, beat: 1 };
    try {
      this.#own(partition, await leases.update(lease.id, lease.revision, next));
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
    }
  }

  async #renew(partition: number, owned: Owned): Promise<void> {
    const { leases, clock } = this.#options;
    const began = clock.monotonic();
    const { stored } = owned;
    try {
      owned.stored = await leases.update(stored.id, stored.revision, {
        ...stored.value,
        beat: stored.value.beat + 1,
      });
      owned.renewedAt = began;
    } catch (error) {
      if (error instanceof Conflict) this.lost(partition);
      else throw error;
    }
  }

  #own(partition: number, stored: Stored<LeaseRecord>): void {
    const { epoch } = stored.value;
    this.#owned.set(partition, { epoch, stored, renewedAt: this.#options.clock.monotonic() });
    this.#options.log.debug({ partition, epoch }, 'took a partition of jobs');
    this.#options.onTaken(partition, epoch);
  }

  /** The margin: an owner stops at three quarters of the lease, others wait for the whole. */
  #stopOverdue(): void {
    const { clock, leaseMs, exclusive } = this.#options;
    if (exclusive) return;
    const limit = clock.monotonic() - leaseMs * 0.75;
    for (const [partition, { renewedAt }] of this.#owned) if (renewedAt < limit) this.lost(partition);
  }

  async #letGo(): Promise<void> {
    const owned = [...this.#owned.values()];
    this.#owned.clear();
    const { leases } = this.#options;
    await Promise.allSettled(
      owned.map(({ stored }) => leases.update(stored.id, stored.revision, { ...stored.value, owner: '' })),
    );
  }
}
