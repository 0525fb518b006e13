/**
 * Which instances share a set of leases: each keeps a record of its own beating, and judges the others' by its own
 * monotonic clock, as it does leases. Used only to share fairly: who owns what, the leases say.
 */
import { AlreadyExists, Conflict, NotFound } from '@nephos/service';
import type { Stored } from '@nephos/store';
import { type LeaseRecord, type Leases, renewMs } from './leases.ts';

interface Seen {
  readonly stored: Stored<LeaseRecord>;
  readonly since: number;
}

const pageSize = 1000;

export class Members {
  readonly #leases: Leases;
  readonly #prefix: string;
  #seen = new Map<string, Seen>();
  #beat = 0;
  #beatAt = -Infinity;

  constructor(leases: Leases, set: string) {
    this.#leases = leases;
    this.#prefix = `members/${set}/`;
  }

  /** How many of `total` are this instance's fair share: the first of them, by id, take what does not divide. */
  share(total: number): number {
    const { owner, clock, leaseMs } = this.#leases;
    const limit = clock.monotonic() - leaseMs;
    const alive = [...this.#seen].filter(([id, { since }]) => id !== owner && since > limit);
    const ids = [owner, ...alive.map(([id]) => id)].toSorted();
    const rest = ids.indexOf(owner) < total % ids.length ? 1 : 0;
    return Math.floor(total / ids.length) + rest;
  }

  /** A lease of its own stood still: it does not live. */
  bury(owner: string): void {
    const seen = this.#seen.get(owner);
    if (seen !== undefined) this.#seen.set(owner, { ...seen, since: -Infinity });
  }

  /** Beats where it is time to, and looks at the others. */
  async look(): Promise<void> {
    const { clock, documents, leaseMs } = this.#leases;
    if (clock.monotonic() - this.#beatAt >= renewMs(this.#leases)) await this.#beatOnce();
    const { items } = await documents.find({ where: { id: { prefix: this.#prefix } }, limit: pageSize });
    const now = clock.monotonic();
    const before = this.#seen;
    this.#seen = new Map();
    for (const stored of items) {
      const id = stored.id.slice(this.#prefix.length);
      const known = before.get(id);
      const seen = known?.stored.revision === stored.revision ? known : { stored, since: now };
      // Long dead: its record goes too.
      if (now - seen.since > 2 * leaseMs) void this.#remove(stored);
      this.#seen.set(id, seen);
    }
  }

  /** This instance takes no share any more. */
  async leave(): Promise<void> {
    try {
      await this.#leases.documents.remove(this.#prefix + this.#leases.owner);
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
    }
  }

  async #beatOnce(): Promise<void> {
    const { documents, clock, owner, address } = this.#leases;
    const id = this.#prefix + owner;
    const began = clock.monotonic();
    this.#beat += 1;
    const record = { owner, address: address(), epoch: 0, beat: this.#beat };
    try {
      await documents.update(id, { where: { owner } }, record);
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
      await documents.insert(id, record).catch((failure: unknown) => {
        if (!(failure instanceof AlreadyExists)) throw failure;
      });
    }
    this.#beatAt = began;
  }

  async #remove({ id, revision }: Stored<LeaseRecord>): Promise<void> {
    try {
      await this.#leases.documents.remove(id, revision);
    } catch (error) {
      if (error instanceof Conflict || error instanceof NotFound) return;
      this.#leases.log.warn({ err: error, id }, 'the record of an instance that is gone was not removed');
    }
  }
}
