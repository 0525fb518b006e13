/**
 * One named lease, as one instance sees it.
 * Invariants: it is taken by compare-and-set, and only after its beat stood still for a whole lease on this
 * instance's own monotonic clock, or at once where the store is exclusive, the owner let go, or it is this instance's
 * own; each take raises the epoch. An owner that could not renew stops a quarter of the lease before others may take
 * over, counted from before the write that renewed it. Wall clocks decide nothing.
 */
import { AlreadyExists, Conflict, NotFound } from '@nephos/service';
import type { Stored } from '@nephos/store';
import { type LeaseRecord, type Leases, ownerMs, renewMs } from './leases.ts';

export interface LeaseEvents {
  /** `handed`: whoever held it before let go of it, having put its work down. */
  taken(epoch: number, handed: boolean): void;
  /** It is not this instance's any more, or may soon be another's. */
  lost(): void;
}

interface Held {
  record: LeaseRecord;
  /** Monotonic: before the write that took or renewed it. */
  renewedAt: number;
  alarm: Disposable;
}

export class Lease {
  readonly name: string;
  readonly #leases: Leases;
  readonly #events: LeaseEvents;
  #held: Held | undefined;
  #seen: { readonly stored: Stored<LeaseRecord>; readonly since: number } | undefined;
  #writing: Promise<void> | undefined;

  constructor(name: string, leases: Leases, events: LeaseEvents) {
    this.name = name;
    this.#leases = leases;
    this.#events = events;
  }

  /** The epoch under which it is held at this very moment; also right after the process stood still. */
  get epoch(): number | undefined {
    return this.#held === undefined || this.#isLate(this.#held) ? undefined : this.#held.record.epoch;
  }

  /** As this instance last saw it. */
  get record(): LeaseRecord | undefined {
    return this.#held?.record ?? this.#seen?.stored.value;
  }

  /** Notes the document as just read. */
  see(stored: Stored<LeaseRecord> | undefined): void {
    if (stored === undefined) return;
    if (this.#held !== undefined && stored.value.epoch > this.#held.record.epoch) this.lose();
    if (this.#seen?.stored.revision === stored.revision) return;
    this.#seen = { stored, since: this.#leases.clock.monotonic() };
  }

  /** Its owner is silent for a whole lease. */
  get isStill(): boolean {
    const { clock, leaseMs } = this.#leases;
    return this.#seen !== undefined && clock.monotonic() - this.#seen.since >= leaseMs;
  }

  get isFree(): boolean {
    if (this.#held !== undefined || this.#writing !== undefined) return false;
    const owner = this.#seen?.stored.value.owner ?? '';
    return this.#leases.exclusive || owner === '' || owner === this.#leases.owner || this.isStill;
  }

  /** Takes it as last seen; without effect when another was first. */
  async take(): Promise<void> {
    await this.#write(async () => {
      const { documents, clock, owner, address } = this.#leases;
      const began = clock.monotonic();
      const seen = this.#seen?.stored;
      const next = {
        ...seen?.value,
        owner,
        address: address(),
        epoch: (seen?.value.epoch ?? 0) + 1,
        beat: 1,
      };
      try {
        if (seen === undefined) await documents.insert(this.name, next);
        else await documents.update(seen.id, seen.revision, next);
      } catch (error) {
        if (error instanceof AlreadyExists || error instanceof Conflict) return;
        throw error;
      }
      this.#hold(next, began, undefined, seen === undefined || isHandedOver(seen.value));
    });
  }

  /** Says that its owner lives, where it is time to. */
  async renew(): Promise<void> {
    const held = this.#held;
    const { documents, clock, owner, address, exclusive } = this.#leases;
    const began = clock.monotonic();
    if (held === undefined || exclusive || began - held.renewedAt < renewMs(this.#leases)) return;
    await this.#write(async () => {
      const { epoch } = held.record;
      const next = { ...held.record, address: address(), beat: held.record.beat + 1 };
      try {
        // Not by revision: a write whose answer got lost must not look like another owner.
        await documents.update(this.name, { where: { owner, epoch } }, next);
      } catch (error) {
        if (!(error instanceof Conflict || error instanceof NotFound)) throw error;
        if (this.#held === held) this.lose();
        return;
      }
      if (this.#held !== held) return;
      held.alarm[Symbol.dispose]();
      this.#hold(next, began, held);
    });
  }

  /** It was lost, or may be any moment: this instance stops counting as its owner. */
  lose(): void {
    if (this.withdraw() !== undefined) this.#events.lost();
  }

  /** Stops counting as its owner, of its own will; gives the epoch that is to be let go of. */
  withdraw(): number | undefined {
    const held = this.#held;
    held?.alarm[Symbol.dispose]();
    this.#held = undefined;
    this.#seen = undefined;
    return held?.record.epoch;
  }

  /** Gives the document up: another may take it at once. Without effect where one has. */
  async letGo(epoch: number): Promise<void> {
    const { documents, owner } = this.#leases;
    try {
      await documents.update(this.name, { where: { owner, epoch } }, { ...nobody, epoch });
    } catch (error) {
      if (!(error instanceof Conflict || error instanceof NotFound)) throw error;
    }
  }

  #hold(record: LeaseRecord, began: number, before: Held | undefined, handed = false): void {
    const alarm = this.#alarm(began);
    if (before !== undefined) {
      Object.assign(before, { record, renewedAt: began, alarm });
      return;
    }
    const held = { record, renewedAt: began, alarm };
    // The answer came too late to rely on; the next look takes it anew.
    if (this.#isLate(held)) return alarm[Symbol.dispose]();
    this.#held = held;
    this.#events.taken(record.epoch, handed);
  }

  #alarm(renewedAt: number): Disposable {
    const { clock, exclusive } = this.#leases;
    if (exclusive) return { [Symbol.dispose]: () => {} };
    const left = renewedAt + ownerMs(this.#leases) - clock.monotonic();
    return clock.timer(Math.max(left, 0) + 1, () => {
      const held = this.#held;
      if (held === undefined) return;
      if (this.#isLate(held)) this.lose();
      else held.alarm = this.#alarm(held.renewedAt);
    });
  }

  #isLate({ renewedAt }: Held): boolean {
    const { clock, exclusive } = this.#leases;
    return !exclusive && clock.monotonic() - renewedAt >= ownerMs(this.#leases);
  }

  /** One write of it at a time. */
  async #write(work: () => Promise<void>): Promise<void> {
    if (this.#writing !== undefined) return;
    this.#writing = work();
    try {
      await this.#writing;
    } finally {
      this.#writing = undefined;
    }
  }
}

/** What a lease that was let go of says beside its epoch. */
const nobody = { owner: '', address: '', beat: 0 };

function isHandedOver({ owner, beat }: LeaseRecord): boolean {
  return owner === nobody.owner && beat === nobody.beat;
}
