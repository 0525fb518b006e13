/**
 * What one replica knows: for each instance the last it said, here or through another replica, and the record in
 * the bus. Pure state; the clock's values and what the bus answered are handed in. Owner: the registry.
 * Invariants: of two words of an instance the one with the higher beat counts; nothing is written but over the
 * revision that was read; an instance whose beat stood still for its lease is taken out by such a write only, so
 * a renewal that came through another replica always wins. A crash leaves the records in the bus.
 */
import {
  advance,
  end,
  type HealthWord,
  type InstanceRecord,
  type PublicState,
  publicState,
  type Said,
  sameFacts,
  withoutPublished,
} from './record.ts';

/** What the bus has of an instance; revision 0: no record. */
export interface Kept {
  readonly record: InstanceRecord | undefined;
  readonly revision: number;
}

export interface Write {
  readonly record: InstanceRecord;
  /** The revision that it replaces. */
  readonly over: number;
}

interface Leaving {
  readonly beat: number;
  /** By itself, not by its word: stays listed until the bus confirms that no renewal came meanwhile. */
  readonly lapsed: boolean;
  readonly at: string;
}

interface Entry {
  said: Said | undefined;
  aliveAt: number;
  leaving: Leaving | undefined;
  /** The record last read or written. */
  record: InstanceRecord | undefined;
  /** Its revision; undefined until the bus was read in this session. */
  revision: number | undefined;
  floor: number;
  publishedSeq: number;
  pending: { readonly seq: number; readonly since: number } | undefined;
  /** Rises with each change that a list shows. */
  version: number;
}

export interface Listed {
  readonly state: PublicState;
  readonly load: number;
  readonly version: number;
}

export class Roster {
  readonly #entries = new Map<string, Entry>();
  readonly #onChange: (service: string) => void;
  /** True while what the bus has is known: an instance that is new then has no record, or the write will tell. */
  #keptKnown = false;

  /** `onChange` is called whenever the list of a service changed. */
  constructor(onChange: (service: string) => void) {
    this.#onChange = onChange;
  }

  register(said: Said, now: number): void {
    this.#hear(said.uid, said, now);
  }

  /** False: the instance is not known here. */
  renew(
    uid: string,
    word: { beat: number; health: HealthWord; load: number; at: string },
    now: number,
  ): boolean {
    const entry = this.#entries.get(uid);
    if (entry?.said === undefined || (entry.leaving !== undefined && !entry.leaving.lapsed)) return false;
    const { health, ...rest } = word;
    const facts = { ...entry.said.facts, health };
    this.#hear(
      uid,
      { ...entry.said, ...rest, facts: sameFacts(facts, entry.said.facts) ? entry.said.facts : facts },
      now,
    );
    return true;
  }

  /** The highest beat heard of an instance; 0 if none. */
  lastBeat(uid: string): number {
    return this.#entries.get(uid)?.said?.beat ?? 0;
  }

  /** Takes an instance out, by its own word or its successor's. */
  leave(uid: string, beat: number, at: string): void {
    this.#depart(uid, { beat, lapsed: false, at });
  }

  /** Marks an instance whose lease ran out for the conditional write that takes it out. */
  lapse(uid: string, at: string): void {
    const beat = this.#entries.get(uid)?.said?.beat;
    if (beat !== undefined) this.#depart(uid, { beat, lapsed: true, at });
  }

  /** Signs of life may have been missed: nobody's lease ran out after all. */
  unlapse(): void {
    for (const entry of this.#entries.values()) if (entry.leaving?.lapsed) entry.leaving = undefined;
  }

  /** Those whose last sign of life, or `from` if that was later, is longer ago than their lease. */
  lapsed(now: number, from: number): string[] {
    return this.#uids(({ said, leaving, aliveAt }) => {
      return (
        said !== undefined && leaving === undefined && now - Math.max(aliveAt, from) > said.facts.leaseMs
      );
    });
  }

  /** The bus is read anew: what was read before is no longer known to be current. */
  forgetKept(): void {
    this.#keptKnown = false;
    for (const entry of this.#entries.values()) entry.revision = undefined;
  }

  /** The whole bus was read: what it did not show is not in it. */
  keptRead(): void {
    this.#keptKnown = true;
    for (const entry of this.#entries.values()) {
      if (entry.revision !== undefined) continue;
      entry.record = undefined;
      entry.revision = 0;
    }
  }

  /** Takes in what the bus has of an instance. */
  observe(uid: string, kept: Kept, now: number): void {
    const entry = this.#entryOf(uid, now);
    const { record, revision } = kept;
    if (record !== undefined && revision < (entry.revision ?? 0)) return;
    entry.record = record;
    entry.revision = revision;
    if (record === undefined) return;
    entry.floor = Math.max(entry.floor, record.eventSeq);
    if (record.pending?.seq !== entry.pending?.seq) {
      entry.pending = record.pending && { seq: record.pending.seq, since: now };
    }
    if (record.ended) {
      if (entry.said !== undefined && entry.said.beat <= record.beat) this.#forget(entry);
      if (entry.said === undefined && record.pending === undefined) this.#entries.delete(uid);
      return;
    }
    if (record.beat <= (entry.said?.beat ?? -1)) return;
    if (entry.leaving !== undefined && entry.leaving.beat < record.beat) entry.leaving = undefined;
    entry.aliveAt = now;
    const { facts, beat, load, updateTime: at } = record;
    this.#say(entry, { uid, facts, beat, load, at });
  }

  /** What has to be written of an instance now; undefined: nothing, or the bus was not read yet. */
  nextWrite(uid: string): Write | undefined {
    const entry = this.#entries.get(uid);
    if (entry?.revision === undefined) return undefined;
    const { said, leaving, floor, publishedSeq, record: last, revision: over } = entry;
    const record = last && withoutPublished(last, publishedSeq);
    if (leaving !== undefined) {
      if (record !== undefined && !record.ended)
        return { record: end(record, leaving.beat, leaving.at), over };
      this.#forget(entry);
      if (last?.pending === undefined) this.#entries.delete(uid);
    } else if (said !== undefined && (record === undefined || said.beat > record.beat)) {
      return { record: advance(record, said, floor), over };
    }
    return record?.ended && record !== last ? { record, over } : undefined;
  }

  /** Those for which `nextWrite` has something, should the bus be there. */
  unwritten(): string[] {
    return this.#uids(({ said, leaving, record, publishedSeq }) => {
      const tombstone =
        record?.ended === true && record.pending !== undefined && record.pending.seq <= publishedSeq;
      return leaving !== undefined || tombstone || (said !== undefined && said.beat > (record?.beat ?? -1));
    });
  }

  /** The record whose change is to be published. */
  unpublished(uid: string): InstanceRecord | undefined {
    const entry = this.#entries.get(uid);
    const record = entry?.record;
    return record?.pending !== undefined && record.pending.seq > (entry?.publishedSeq ?? 0)
      ? record
      : undefined;
  }

  /** Those whose change has been waiting for longer than `ms`, whoever wrote it. */
  longUnpublished(now: number, ms: number): string[] {
    return this.#uids(({ pending, publishedSeq }) => {
      return pending !== undefined && pending.seq > publishedSeq && now - pending.since > ms;
    });
  }

  published(uid: string, seq: number): void {
    const entry = this.#entries.get(uid);
    if (entry !== undefined) entry.publishedSeq = Math.max(entry.publishedSeq, seq);
  }

  get(uid: string): Listed | undefined {
    const entry = this.#entries.get(uid);
    return entry && listed(entry);
  }

  /** Ordered by uid. */
  list(): Listed[] {
    return [...this.#entries.values()]
      .flatMap((entry) => listed(entry) ?? [])
      .sort((one, other) => (one.state.uid < other.state.uid ? -1 : 1));
  }

  #uids(which: (entry: Entry) => boolean): string[] {
    return [...this.#entries].flatMap(([uid, entry]) => (which(entry) ? [uid] : []));
  }

  #entryOf(uid: string, now: number): Entry {
    let entry = this.#entries.get(uid);
    if (entry === undefined) {
      entry = {
        said: undefined,
        aliveAt: now,
        leaving: undefined,
        record: undefined,
        revision: this.#keptKnown ? 0 : undefined,
        floor: 0,
        publishedSeq: 0,
        pending: undefined,
        version: 0,
      };
      this.#entries.set(uid, entry);
    }
    return entry;
  }

  #hear(uid: string, said: Said, now: number): void {
    const entry = this.#entryOf(uid, now);
    const ended = entry.record?.ended ? entry.record.beat : -1;
    if (said.beat <= Math.max(entry.said?.beat ?? -1, entry.leaving?.beat ?? -1, ended)) return;
    entry.leaving = undefined;
    entry.aliveAt = now;
    this.#say(entry, said);
  }

  #say(entry: Entry, said: Said): void {
    const changed = entry.said === undefined || !sameFacts(entry.said.facts, said.facts);
    entry.said = changed || entry.said === undefined ? said : { ...said, at: entry.said.at };
    if (changed) this.#show(entry, said.facts.service);
  }

  #depart(uid: string, leaving: Leaving): void {
    const entry = this.#entries.get(uid);
    if (entry?.said === undefined || entry.said.beat > leaving.beat) return;
    const wasListed = listed(entry) !== undefined;
    if (entry.leaving === undefined || entry.leaving.lapsed) entry.leaving = leaving;
    if (wasListed && listed(entry) === undefined) this.#show(entry, entry.said.facts.service);
  }

  #forget(entry: Entry): void {
    const service = entry.said?.facts.service;
    entry.said = undefined;
    entry.leaving = undefined;
    if (service !== undefined) this.#show(entry, service);
  }

  #show(entry: Entry, service: string): void {
    entry.version += 1;
    this.#onChange(service);
  }
}

/** As callers see it: the record that would be written. */
function listed(entry: Entry): Listed | undefined {
  const { said, leaving, record, floor, version } = entry;
  if (said === undefined || (leaving !== undefined && !leaving.lapsed)) return undefined;
  return { state: publicState(advance(record, said, floor)), load: said.load, version };
}
