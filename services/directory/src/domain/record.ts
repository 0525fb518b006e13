/**
 * One instance as it is kept in the bus, and how it becomes the next record. Pure.
 * Invariants: `eventSeq` is dense and rises by one with each public change, in the same compare-and-set write as
 * the change and with the event pending inside it; beats, load and callees are no change. A record that ended stays as a
 * tombstone, so that the same instance coming back goes on counting.
 */

export type HealthWord = 'SERVING' | 'NOT_SERVING' | 'DRAINING';

/** What an instance says of itself, but for beats and load. */
export interface InstanceFacts {
  readonly service: string;
  readonly version: string;
  readonly displayName: string;
  /** Immutable, as the subject of its events is. */
  readonly zone: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly address: string;
  readonly grpcServices: readonly string[];
  readonly health: HealthWord;
  readonly weight: number;
  readonly leaseMs: number;
  /** How often it renews; absent where it did not say. */
  readonly renewMs?: number;
  readonly process: { readonly host: string; readonly pid: number; readonly startTime: string };
}

/** Whom an instance called: bookkeeping, like its load. */
export interface CalleeWord {
  readonly service: string;
  readonly calls: number;
  readonly failures: number;
  /** RFC 3339. */
  readonly since: string;
}

/** The public state: what events and lists tell. Times are RFC 3339. */
export interface PublicState {
  readonly uid: string;
  readonly facts: InstanceFacts;
  readonly eventSeq: number;
  readonly createTime: string;
  readonly updateTime: string;
  readonly registerTime: string;
}

/** The change that is not yet known to be published. Later ones join it: it then stands for `firstSeq..seq`. */
export interface PendingChange {
  readonly firstSeq: number;
  readonly seq: number;
  readonly verb: 'created' | 'updated' | 'deleted' | 'restated';
  readonly at: string;
  readonly before?: PublicState;
}

export interface InstanceRecord extends PublicState {
  readonly schema: number;
  /** The instance's own counter of what it said. */
  readonly beat: number;
  readonly load: number;
  /** Absent in records of the first directories. */
  readonly callees?: readonly CalleeWord[];
  readonly ended?: boolean;
  /** A replica that has heard nothing for a while asks whoever knows a later beat than this one to write it. */
  readonly questionedBeat?: number;
  readonly pending?: PendingChange | undefined;
}

/** The last word of an instance. `at` is when it was taken in, by the wall clock of that replica. */
export interface Said {
  readonly uid: string;
  readonly facts: InstanceFacts;
  readonly beat: number;
  readonly load: number;
  readonly callees: readonly CalleeWord[];
  readonly at: string;
}

export const schemaVersion = 1;

/**
 * The record after an instance spoke. `floor` is the highest event sequence ever seen of it: where the bus lost
 * the record, one event restates the whole.
 */
export function advance(previous: InstanceRecord | undefined, said: Said, floor: number): InstanceRecord {
  const facts =
    previous === undefined ? said.facts : { ...previous.facts, ...said.facts, zone: previous.facts.zone };
  const { beat, load, callees, at, uid } = said;
  if (previous !== undefined && !previous.ended && sameFacts(previous.facts, facts)) {
    return { ...previous, beat, load, callees };
  }
  const living = previous?.ended ? undefined : previous;
  const lost = previous === undefined && floor > 0;
  const eventSeq = Math.max(previous?.eventSeq ?? 0, floor) + 1;
  const change: PendingChange = {
    firstSeq: lost ? 1 : eventSeq,
    seq: eventSeq,
    verb: lost ? 'restated' : living ? 'updated' : 'created',
    at,
    ...(living && { before: publicState(living) }),
  };
  const registered =
    living !== undefined && sameFacts(living.facts, { ...facts, health: living.facts.health });
  return {
    ...previous,
    schema: Math.max(previous?.schema ?? 0, schemaVersion),
    uid,
    facts,
    beat,
    load,
    callees,
    eventSeq,
    createTime: living?.createTime ?? at,
    updateTime: at,
    registerTime: registered ? living.registerTime : at,
    ended: false,
    pending: joined(previous?.pending, change),
  };
}

/** The tombstone of a record: the instance left, was superseded or its lease lapsed. */
export function end(previous: InstanceRecord, beat: number, at: string): InstanceRecord {
  const eventSeq = previous.eventSeq + 1;
  const before = publicState(previous);
  const firstSeq = previous.pending?.firstSeq ?? eventSeq;
  return {
    ...previous,
    beat: Math.max(beat, previous.beat),
    eventSeq,
    updateTime: at,
    ended: true,
    pending: { firstSeq, seq: eventSeq, verb: 'deleted', at, before },
  };
}

/** The record without its pending change, if that is published. */
export function withoutPublished(record: InstanceRecord, publishedSeq: number): InstanceRecord {
  return record.pending !== undefined && record.pending.seq <= publishedSeq
    ? { ...record, pending: undefined }
    : record;
}

export function publicState(record: PublicState): PublicState {
  const { uid, facts, eventSeq, createTime, updateTime, registerTime } = record;
  return { uid, facts, eventSeq, createTime, updateTime, registerTime };
}

/** Two changes as one: from the state before the first to the state after the second. */
function joined(first: PendingChange | undefined, second: PendingChange): PendingChange {
  if (first === undefined) return second;
  const { seq, at } = second;
  const firstSeq = Math.min(first.firstSeq, second.firstSeq);
  const { before } = first;
  return before === undefined
    ? { firstSeq, seq, at, verb: first.verb }
    : { firstSeq, seq, at, verb: 'updated', before };
}

export function sameFacts(one: InstanceFacts, other: InstanceFacts): boolean {
  return one === other || canonical(one) === canonical(other);
}

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
