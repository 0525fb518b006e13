/**
 * A fixed set of leases shared fairly among the instances that live, such as the partitions of a service's work.
 * Invariants: those of lease.ts for each; what is free is taken by whoever owns less than its share, so that each
 * lease soon has an owner; who owns more than its share hands over one lease at a time, after `onLost` has resolved,
 * and waits until it is taken. A crash leaves leases, to be taken when they are over.
 */
import { Lease } from './lease.ts';
import type { LeaseRecord, Leases } from './leases.ts';
import { Members } from './members.ts';

export interface LeaseSetOptions {
  readonly leases: Leases;
  /** Names the set; unique in the store. */
  readonly set: string;
  /** The leases' names; the same in all instances. */
  readonly names: readonly string[];
  /** `handed`: the one before let go of it after its `onLost` had resolved; else it may not know that it is over. */
  readonly onTaken: (name: string, epoch: number, handed: boolean) => void;
  /**
   * It is this instance's no more. Where it is handed over, it is let go of once the promise resolves, and left to
   * run out where it rejects; where it was lost, nobody waits.
   */
  readonly onLost: (name: string) => Promise<void> | void;
}

/** How often the leases are looked at, in shares of a lease. */
const lookShare = 1 / 40;

export class LeaseSet {
  readonly #leases: Leases;
  readonly #options: LeaseSetOptions;
  readonly #members: Members;
  readonly #set: ReadonlyMap<string, Lease>;
  #looking: Promise<void> | undefined;
  #leaving: Promise<void> | undefined;

  constructor(options: LeaseSetOptions) {
    const { leases, names, set } = options;
    this.#leases = leases;
    this.#options = options;
    this.#members = new Members(leases, set);
    this.#set = new Map(names.map((name) => [name, this.#lease(name)]));
  }

  get owned(): readonly string[] {
    return [...this.#set.values()].filter(({ epoch }) => epoch !== undefined).map(({ name }) => name);
  }

  /** The epoch under which it is held at this very moment; undefined: another owns it, or nobody. */
  epochOf(name: string): number | undefined {
    return this.#set.get(name)?.epoch;
  }

  /** Who holds it, as last seen; `owner` is empty where nobody does. */
  holderOf(name: string): LeaseRecord | undefined {
    return this.#set.get(name)?.record;
  }

  /** A write met a newer epoch: it is another's. */
  lost(name: string): void {
    this.#set.get(name)?.lose();
  }

  /** One look at all leases: takes, renews and hands over what is due. Those who ask meanwhile share it. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** Looks until aborted, then leaves. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, leaseMs, log, exclusive } = this.#leases;
    let failing = false;
    while (!signal.aborted) {
      try {
        // Nobody else can take any of them.
        if (!exclusive || this.owned.length < this.#set.size) await this.look();
        failing = false;
      } catch (error) {
        if (!failing) log.warn({ err: error, set: this.#options.set }, 'leases could not be looked at');
        failing = true;
      }
      await clock.sleep(leaseMs * lookShare, signal).catch(() => {});
    }
    await this.leave();
  }

  /** Hands all over and takes none any more; goes on telling who holds what. The same promise each time. */
  leave(): Promise<void> {
    this.#leaving ??= this.#leave();
    return this.#leaving;
  }

  #lease(name: string): Lease {
    const { log } = this.#leases;
    const { set, onTaken } = this.#options;
    return new Lease(name, this.#leases, {
      taken: (epoch, handed) => {
        log.debug({ set, lease: name, epoch, handed }, 'took a lease of a set');
        onTaken(name, epoch, handed);
      },
      lost: () => {
        log.warn({ set, lease: name }, 'a lease of a set was lost');
        void this.#tell(name);
      },
    });
  }

  /** False: what was done under it is not put down. */
  async #tell(name: string): Promise<boolean> {
    try {
      await this.#options.onLost(name);
      return true;
    } catch (error) {
      this.#leases.log.error({ err: error, lease: name }, 'what was lost could not be put down');
      return false;
    }
  }

  async #look(): Promise<void> {
    const { documents, exclusive } = this.#leases;
    const all = [...this.#set.values()];
    const found = await documents.getMany(all.map(({ name }) => name));
    for (const stored of found) this.#set.get(stored.id)?.see(stored);
    if (this.#leaving !== undefined) return;
    if (!exclusive) await this.#members.look();
    const still = all.filter((lease) => lease.isStill).map(({ record }) => record?.owner ?? '');
    for (const owner of still) this.#members.bury(owner);
    const share = exclusive ? all.length : this.#members.share(all.length);
    const owned = all.filter(({ epoch }) => epoch !== undefined);
    const free = all.filter((lease) => lease.isFree && lease.epoch === undefined);
    const taking = this.#leaving === undefined ? free.slice(0, Math.max(0, share - owned.length)) : [];
    // A write that fails ends no look while others are under way: what they take would not be handed over by `leave`.
    const writes = [...owned.map((lease) => lease.renew()), ...taking.map((lease) => lease.take())];
    const failed = (await Promise.allSettled(writes)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
    const spare = owned.at(-1);
    if (owned.length > share && free.length === 0 && spare !== undefined) await this.#handOver(spare);
  }

  async #handOver(lease: Lease): Promise<void> {
    const epoch = lease.withdraw();
    if (epoch === undefined) return;
    this.#leases.log.debug({ set: this.#options.set, lease: lease.name, epoch }, 'hands over a lease');
    if (await this.#tell(lease.name)) await lease.letGo(epoch);
  }

  async #leave(): Promise<void> {
    // A look under way may still take; what it took is handed over too.
    await this.#looking?.catch(() => {});
    const { log, exclusive } = this.#leases;
    const steps = [...this.#set.values()].map((lease) => this.#handOver(lease));
    if (!exclusive) steps.unshift(this.#members.leave());
    for (const result of await Promise.allSettled(steps)) {
      if (result.status === 'rejected')
        log.warn({ err: result.reason as unknown, set: this.#options.set }, 'a lease could not be let go of');
    }
  }
}
