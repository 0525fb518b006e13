/**
 * What one replica knows of one instance, and what follows from it: whether something of it is to be written, and
 * what lists show of it. Pure; owner: the roster.
 */
import {
  advance,
  type CalleeWord,
  type InstanceFacts,
  type InstanceRecord,
  type PublicState,
  publicState,
  type Said,
} from './record.ts';

export interface Leaving {
  readonly beat: number;
  /** By itself, not by its word: stays listed until the bus confirms that no renewal came meanwhile. */
  readonly lapsed: boolean;
  readonly at: string;
}

/** Parts of a lease. */
export const parts = {
  /** After so long without a sign of life all replicas are asked for one. */
  question: 1 / 2,
  /** So long they have to answer. */
  answer: 1 / 3,
  /** Until a record that tells of a published change is written without it. */
  published: 1 / 3,
  /** Between writes of renewals that change nothing: for load and callees at other replicas. */
  rest: 3,
};

export interface Entry {
  said: Said | undefined;
  aliveAt: number;
  leaving: Leaving | undefined;
  /** The record last read or written. */
  record: InstanceRecord | undefined;
  /** Its revision; undefined until the bus was read in this session. */
  revision: number | undefined;
  /** When that record was first seen, monotonic. */
  keptAt: number;
  /** The beat of the last word that changed what lists show. */
  changedBeat: number;
  /** The highest beat that another replica heard. */
  heardBeat: number;
  /** Nothing was heard of it for so long that the other replicas are to be asked. */
  inQuestion: boolean;
  silent: boolean;
  floor: number;
  publishedSeq: number;
  pending: { readonly seq: number; readonly since: number } | undefined;
  /** Rises with each change that a list shows. */
  version: number;
  shown: Shown | undefined;
}

/** The public state, and what it was made of. */
interface Shown {
  readonly facts: InstanceFacts;
  readonly record: InstanceRecord | undefined;
  readonly floor: number;
  readonly state: PublicState;
}

export interface Listed {
  readonly state: PublicState;
  readonly load: number;
  readonly callees: readonly CalleeWord[];
  readonly silent: boolean;
  readonly version: number;
}

export function isUnwritten(entry: Entry, now: number): boolean {
  const { said, leaving, record, publishedSeq } = entry;
  const tombstone =
    record?.ended === true && record.pending !== undefined && record.pending.seq <= publishedSeq;
  if (leaving !== undefined || tombstone) return true;
  return said !== undefined && (isDue(entry, said, now) || isToBeAsked(entry));
}

/** A change is written at once, like the answer to whoever asks for an instance; other renewals now and then only. */
export function isDue(
  { record, changedBeat, keptAt, silent, inQuestion }: Entry,
  said: Said,
  now: number,
): boolean {
  if (record === undefined || record.ended || record.beat < changedBeat)
    return said.beat > (record?.beat ?? -1);
  // What is written would count as a sign of life elsewhere.
  if (said.beat <= record.beat || silent || inQuestion) return false;
  const pauseMs = said.facts.leaseMs * (record.pending === undefined ? parts.rest : parts.published);
  return isQuestioned(record) || now - keptAt >= pauseMs;
}

export function isToBeAsked({ inQuestion, record }: Entry): boolean {
  return inQuestion && record !== undefined && !record.ended && !isQuestioned(record);
}

export function isQuestioned({ questionedBeat, beat }: InstanceRecord): boolean {
  return questionedBeat === beat;
}

/** As callers see it: the record that would be written. */
export function listed(entry: Entry): Listed | undefined {
  const { said, leaving, record, floor, version, silent } = entry;
  if (said === undefined || (leaving !== undefined && !leaving.lapsed)) return undefined;
  const { facts, load, callees } = said;
  const { shown } = entry;
  if (shown?.facts !== facts || shown.record !== record || shown.floor !== floor) {
    entry.shown = { facts, record, floor, state: publicState(advance(record, said, floor)) };
  }
  const state = (entry.shown as Shown).state;
  return { state, load, callees, silent, version };
}
