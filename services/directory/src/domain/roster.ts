/**
 * What one replica knows: for each instance the last it said, here or through another replica, and the record in
 * the bus. Pure state; the clock's values and what the bus answered are handed in. Owner: the registry.
 * Invariants: of two words of an instance the one with the higher beat counts; nothing is written but over the
 * revision that was read; an instance that was silent for its lease is asked for in its record, and taken out by
 * such a write only when no replica answered, so a renewal that came through another replica wins. Silence, unlike an
 * end, is what this replica alone thinks: it is written nowhere and passes with the next sign of life. A crash leaves
 * the records in the bus.
 */
import {
  type Entry,
  isDue,
  isQuestioned,
  isToBeAsked,
  isUnwritten,
  type Leaving,
  type Listed,
  listed,
  parts,
} from './entry.ts';
import {
  advance,
  type CalleeWord,
  end,
  type HealthWord,
  type InstanceRecord,
  type Said,
  sameFacts,
  withoutPublished,
} from './record.ts';

/** What the bus has of an instance; revision 0: no record. */
export interface Kept {
  readonly record: InstanceRecord | undefined;
  readonly revision: number;
}

/** What a renewal says. */
export interface RenewalWord {
  readonly beat: number;
  readonly health: HealthWord;
  readonly load: number;
  readonly callees: readonly CalleeWord[];
  readonly at: string;
}

export interface Write {
  readonly record: InstanceRecord;
  /** The revision that it replaces. */
  readonly over: number;
}

/** So much later than it said may a renewal come. */
const renewalSlackMs = 300;

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
  renew(uid: string, word: RenewalWord, now: number): boolean {
    const entry = this.#entries.get(uid);
    if (entry?.said === undefined || (entry.leaving !== undefined && !entry.leaving.lapsed)) return false;
    const { health, ...rest } = word;
    const { facts } = entry.said;
    this.#hear(
      uid,
      { ...entry.said, ...rest, facts: facts.health === health ? facts : { ...facts, health } },
      now,
    );
    return true;
  }

  /** Another replica heard of it; older ones do not tell the beat. */
  heard(uid: string, beat: number, now: number): void {
    const entry = this.#entries.get(uid);
    if (entry?.said === undefined) return;
    entry.heardBeat = Math.max(entry.heardBeat, beat);
    this.#alive(entry, now);
  }

  /**
   * Marks those whose renewal is overdue since `from` or later. When that is more than half of all that should renew,
   * the fault is more likely on this side: nobody is marked. Returns the newly silent.
   */
  hush(now: number, from: number): string[] {
    let renewing = 0;
    const overdue = this.#uids(({ said, aliveAt }) => {
      if (said?.facts.renewMs === undefined) return false;
      renewing += 1;
      return now - Math.max(aliveAt, from) > said.facts.renewMs + renewalSlackMs;
    });
    if (overdue.length * 2 > renewing) return [];
    return overdue.filter((uid) => {
      const entry = this.#entries.get(uid);
      if (entry?.said === undefined || entry.silent) return false;
      entry.silent = true;
      this.#show(entry, entry.said.facts.service);
      return true;
    });
  }

  /** The highest beat heard of an instance, here or elsewhere; 0 if none. */
  lastBeat(uid: string): number {
    const entry = this.#entries.get(uid);
    return Math.max(entry?.said?.beat ?? 0, entry?.heardBeat ?? 0);
  }

  /** Takes an instance out, by its own word or its successor's. */
  leave(uid: string, beat: number, at: string): void {
    this.#depart(uid, { beat, lapsed: false, at });
  }

  /** Marks an instance whose lease ran out for the conditional write that takes it out. */
  lapse(uid: string, at: string): void {
    this.#depart(uid, { beat: this.lastBeat(uid), lapsed: true, at });
  }

  /** Signs of life may have been missed: nobody's lease ran out after all. */
  unlapse(): void {
    for (const entry of this.#entries.values()) {
      entry.inQuestion = false;
      if (entry.leaving?.lapsed) entry.leaving = undefined;
    }
  }

  /**
   * Those whose last sign of life, or `from` if that was later, is longer ago than their lease, and of whom no other
   * replica had one when asked. Who is late, but not that late, is to be asked for with the next write.
   */
  lapsed(now: number, from: number): string[] {
    return this.#uids((entry) => {
      const { said, leaving, aliveAt, record, keptAt } = entry;
      if (said === undefined || leaving !== undefined) return false;
      const { leaseMs } = said.facts;
      const quietMs = now - Math.max(aliveAt, from);
      entry.inQuestion = quietMs > leaseMs * parts.question;
      if (quietMs <= leaseMs) return false;
      const asked = record === undefined || record.ended || isQuestioned(record);
      return asked && now - keptAt >= leaseMs * parts.answer;
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
    if (revision !== entry.revision) entry.keptAt = now;
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
    // A uid is one service's for good: who took it here before the bus was read has it no more.
    if (entry.said !== undefined && entry.said.facts.service !== record.facts.service) this.#forget(entry);
    if (record.beat <= (entry.said?.beat ?? -1)) return;
    if (entry.leaving !== undefined && entry.leaving.beat < record.beat) entry.leaving = undefined;
    this.#alive(entry, now);
    const { facts, beat, load, callees = [], updateTime: at } = record;
    this.#say(entry, { uid, facts, beat, load, callees, at });
  }

  /** What has to be written of an instance now; undefined: nothing, or the bus was not read yet. */
  nextWrite(uid: string, now: number): Write | undefined {
    const entry = this.#entries.get(uid);
    if (entry?.revision === undefined) return undefined;
    const { said, leaving, floor, publishedSeq, record: last, revision: over } = entry;
    const record = last && withoutPublished(last, publishedSeq);
    if (leaving !== undefined) {
      if (record !== undefined && !record.ended)
        return { record: end(record, leaving.beat, leaving.at), over };
      this.#forget(entry);
      if (last?.pending === undefined) this.#entries.delete(uid);
    } else if (said !== undefined && isDue(entry, said, now)) {
      return { record: advance(record, said, floor), over };
    } else if (record !== undefined && isToBeAsked(entry)) {
      return { record: { ...record, questionedBeat: record.beat }, over };
    }
    return record?.ended && record !== last ? { record, over } : undefined;
  }

  /** Whether `nextWrite` has something, should the bus be there. */
  isUnwritten(uid: string, now: number): boolean {
    const entry = this.#entries.get(uid);
    return entry !== undefined && isUnwritten(entry, now);
  }

  /** Those of whom that is so. */
  unwritten(now: number): string[] {
    return this.#uids((entry) => isUnwritten(entry, now));
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

  /** All, or those of a service, ordered by uid. */
  list(service = ''): Listed[] {
    return [...this.#entries.values()]
      .filter(({ said }) => service === '' || said?.facts.service === service)
      .flatMap((entry) => listed(entry) ?? [])
      .sort((one, other) => (one.state.uid < other.state.uid ? -1 : 1));
  }

  #uids(which: (entry: Entry) => boolean): string[] {
    const uids: string[] = [];
    for (const [uid, entry] of this.#entries) if (which(entry)) uids.push(uid);
    return uids;
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
        keptAt: now,
        changedBeat: 0,
        heardBeat: 0,
        inQuestion: false,
        silent: false,
        floor: 0,
        publishedSeq: 0,
        pending: undefined,
        version: 0,
        shown: undefined,
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
    this.#alive(entry, now);
    this.#say(entry, said);
  }

  #alive(entry: Entry, now: number): void {
    entry.aliveAt = now;
    entry.inQuestion = false;
    if (!entry.silent) return;
    entry.silent = false;
    if (entry.said !== undefined) this.#show(entry, entry.said.facts.service);
  }

  #say(entry: Entry, said: Said): void {
    const changed = entry.said === undefined || !sameFacts(entry.said.facts, said.facts);
    entry.said = changed || entry.said === undefined ? said : { ...said, at: entry.said.at };
    if (!changed) return;
    entry.changedBeat = said.beat;
    this.#show(entry, said.facts.service);
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
