// How a document of the store lies in MongoDB, and what is read from it. Pure.
// Owner: the MongoDB adapter. The value is JSON text: what was written comes back to the character, whatever its
// names, depth or numbers, and no server parses it on the way. Invariants: `pending` is contiguous and its last
// entry's sequence is `eventSeq`, so that a write adds an event without knowing the counter; `pendingId` is there
// exactly while `pending` has entries; for one `eventSeq` `pendingCount` only falls, so the two together name one
// state of `pending`.
import { Invalid, newUid } from '@nephos/service';
import type { Json, PendingEvent } from '../collection.ts';
import type { Row, WriteRequest } from '../driver.ts';
import { idOf } from './keys.ts';

/** Text of one document, and of one event, as in every adapter; and of both, which MongoDB keeps as one. */
const maxTextLength = 8 * 1024 * 1024;
const maxBytes = 15 * 1024 * 1024;

/** An event, or several that collapsed into it. */
export interface PendingEntry {
  /** Of its own, so that it can be taken out by name. */
  readonly key: string;
  /** How many events it stands for. */
  readonly count: number;
  readonly at: string;
  readonly bytes: number;
  /** JSON text. */
  readonly payload: string;
}

export interface StoredDocument {
  /** `idText` of the id. */
  readonly _id: string;
  readonly revision: number;
  readonly eventSeq: number;
  readonly schema: number;
  /** JSON text. */
  readonly value: string;
  /** By `key` of the index. Not there on a tombstone. */
  readonly keys?: Readonly<Record<string, string>>;
  /** The generation of indexes that `keys` is complete for. Not there on a tombstone. */
  readonly layout?: number;
  /** Milliseconds since 1970: a tombstone. */
  readonly removedAt?: number;
  readonly pending?: readonly PendingEntry[];
  /** `_id` again, for a sparse index over the documents with pending events. */
  readonly pendingId?: string;
  readonly pendingCount?: number;
  readonly pendingBytes?: number;
}

export const rowFields = { revision: 1, eventSeq: 1, schema: 1, value: 1 } as const;
/** What a write answers from. */
export const counterFields = { revision: 1, eventSeq: 1, pendingCount: 1, pendingBytes: 1 } as const;
export const pendingFields = { eventSeq: 1, removedAt: 1, pending: 1, pendingCount: 1 } as const;

export type RowDocument = Pick<StoredDocument, '_id' | keyof typeof rowFields>;
export type CounterDocument = Pick<StoredDocument, keyof typeof counterFields>;
export type PendingPart = Pick<StoredDocument, '_id' | keyof typeof pendingFields>;

export function rowOf({ _id, revision, eventSeq, schema, value }: RowDocument): Row {
  return { id: idOf(_id), revision, eventSeq, schema, value: JSON.parse(value) as Json };
}

/** A write with its texts made, once for however often it is tried. */
export interface PreparedWrite {
  readonly request: WriteRequest;
  /** JSON text; a tombstone's is that of an empty document. */
  readonly value: string;
  readonly entry: PendingEntry | undefined;
  readonly bytes: number;
}

/** Throws `Invalid` when it is more than a document holds. */
export function prepared(collection: string, request: WriteRequest): PreparedWrite {
  const value = request.kind === 'remove' ? '{}' : JSON.stringify(request.value);
  const { event } = request;
  const payload = event === undefined ? '' : (event.encoded?.text ?? JSON.stringify(event.payload));
  const eventBytes = Buffer.byteLength(payload);
  const bytes = Buffer.byteLength(value) + eventBytes;
  if (bytes > maxBytes || value.length > maxTextLength || payload.length > maxTextLength) {
    throw new Invalid(
      'MESSAGE_TOO_LARGE',
      `${collection}/${request.id}: a document or event is at most ${maxTextLength} long, both ${maxBytes} bytes`,
    );
  }
  const entry = event && { key: newUid(), count: 1, at: event.at, bytes: eventBytes, payload };
  return { request, value, entry, bytes };
}

/** Each entry with the sequence of its last event, oldest first. */
export function sequencesOf({
  eventSeq,
  pending = [],
}: PendingPart): (readonly [seq: number, PendingEntry])[] {
  let seq = eventSeq;
  return pending
    .toReversed()
    .map((entry) => {
      const own = seq;
      seq -= entry.count;
      return [own, entry] as const;
    })
    .reverse();
}

export function eventsOf(document: PendingPart, read: (text: string) => Json): PendingEvent[] {
  return sequencesOf(document).map(([seq, { count, at, payload }]) => ({
    seq,
    firstSeq: seq - count + 1,
    at,
    payload: read(payload),
  }));
}
