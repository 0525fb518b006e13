// Pending events inside their documents: what waits for the relay, clearing, collapsing, sweeping.
// Owner: the MongoDB adapter. Invariants: none of this touches a document's counters; what is taken out of a
// document, or put together, is taken from exactly the state that was looked at.

import { newUid } from '@nephos/service';
import type { Collection, Document, UpdateFilter } from 'mongodb';
import type { Cleared, Json, PendingDocument, PendingEvent } from '../collection.ts';
import type { Driver } from '../driver.ts';
import {
  eventsOf,
  type PendingEntry,
  type PendingPart,
  pendingFields,
  type StoredDocument,
  sequencesOf,
} from './document.ts';
import { idOf, idText } from './keys.ts';

type Documents = Collection<StoredDocument>;
type Range = Parameters<Driver['collapse']>[2];

const maxAttempts = 30;
const fetchedAtOnce = 50;
const clearedAtOnce = 500;

export async function pendingOf(documents: Documents, id: string): Promise<PendingEvent[]> {
  const found = await look(documents, id);
  return found === null ? [] : eventsOf(found, (text) => JSON.parse(text) as Json);
}

/** Adds documents of one collection behind `afterId` until there are `limit`, or `bytes` of payloads. */
export async function addPending(
  documents: Documents,
  afterId: string,
  found: PendingDocument[],
  room: { readonly limit: number; bytes: number; readonly read: (text: string) => Json },
): Promise<void> {
  const cursor = documents
    .find({ pendingId: { $gt: idText(afterId) } })
    .project<PendingPart & Pick<StoredDocument, 'pendingBytes'>>({ ...pendingFields, pendingBytes: 1 })
    .sort({ pendingId: 1 })
    .limit(room.limit - found.length)
    .batchSize(fetchedAtOnce);
  for await (const document of cursor) {
    room.bytes -= document.pendingBytes ?? 0;
    if (room.bytes < 0 && found.length > 0) break;
    const collection = documents.collectionName;
    const id = idOf(document._id);
    found.push({
      key: `${collection}/${id}`,
      collection,
      id,
      deleted: document.removedAt !== undefined,
      eventSeq: document.eventSeq,
      events: eventsOf(document, room.read),
    });
  }
}

export async function clear(documents: Documents, id: string, upToSeq: number): Promise<void> {
  // Most often all that waits was published, and then nothing has to be looked at.
  if (await changePending(documents, { _id: idText(id), eventSeq: upToSeq }, [])) return;
  for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
    const found = await look(documents, id);
    if (found === null) return;
    const sequences = sequencesOf(found);
    const gone = sequences.filter(([seq]) => seq <= upToSeq).map(([, entry]) => entry);
    if (gone.length === 0) return;
    const { _id, eventSeq, pendingCount = 0 } = found;
    const state = { _id, eventSeq, pendingCount };
    if (gone.length === sequences.length) {
      if (await changePending(documents, state, [])) return;
      continue;
    }
    const { matchedCount } = await documents.updateOne(state, {
      $pull: { pending: { key: { $in: gone.map(({ key }) => key) } } },
      $inc: { pendingCount: -gone.length, pendingBytes: -bytesOf(gone) },
    } as UpdateFilter<StoredDocument>);
    if (matchedCount > 0) return;
  }
}

/** In commands of many; then one by one where documents have changed since they were published. */
export async function clearAll(documents: Documents, cleared: readonly Cleared[]): Promise<void> {
  for (let from = 0; from < cleared.length; from += clearedAtOnce) {
    const some = cleared.slice(from, from + clearedAtOnce);
    const updates = some.map(({ id, upToSeq }) => ({
      updateOne: { filter: { _id: idText(id), eventSeq: upToSeq }, update: updateTo([]) },
    }));
    const { matchedCount } = await documents.bulkWrite(updates, { ordered: false });
    if (matchedCount === some.length) continue;
    for (const { id, upToSeq } of some) await clear(documents, id, upToSeq);
  }
}

/** Does nothing once the head is no longer exactly what the caller collapsed. */
export async function collapse(documents: Documents, id: string, range: Range, payload: Json): Promise<void> {
  const { first, last, count } = range;
  const text = JSON.stringify(payload);
  for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
    const found = await look(documents, id);
    if (found === null) return;
    const sequences = sequencesOf(found);
    const head = sequences.slice(0, count);
    if (head[0]?.[0] !== first.seq || head.at(-1)?.[0] !== last.seq) return;
    const entry: PendingEntry = {
      key: newUid(),
      count: head.reduce((sum, [, one]) => sum + one.count, 0),
      at: last.at,
      bytes: Buffer.byteLength(text),
      payload: text,
    };
    const rest = sequences.slice(count).map(([, one]) => one);
    const { _id, eventSeq, pendingCount = 0 } = found;
    if (await changePending(documents, { _id, eventSeq, pendingCount }, [entry, ...rest])) return;
  }
}

/** Returns how many were swept. */
export async function sweep(documents: Documents, removedBefore: number, limit: number): Promise<number> {
  const due: Document = { removedAt: { $lt: removedBefore }, pendingId: null };
  const found = await documents.find(due, { projection: { _id: 1 }, limit }).toArray();
  if (found.length === 0) return 0;
  const { deletedCount } = await documents.deleteMany({ ...due, _id: { $in: found.map(({ _id }) => _id) } });
  return deletedCount;
}

async function look(documents: Documents, id: string): Promise<PendingPart | null> {
  return await documents.findOne<PendingPart>({ _id: idText(id) }, { projection: pendingFields });
}

/** False: the document is no longer in that state. */
async function changePending(
  documents: Documents,
  state: Document,
  pending: readonly PendingEntry[],
): Promise<boolean> {
  const { matchedCount } = await documents.updateOne(state, updateTo(pending));
  return matchedCount > 0;
}

function updateTo(pending: readonly PendingEntry[]): UpdateFilter<StoredDocument> {
  const counts = { pendingCount: pending.length, pendingBytes: bytesOf(pending) };
  return pending.length === 0
    ? { $set: counts, $unset: { pending: '', pendingId: '' } }
    : { $set: { ...counts, pending } };
}

function bytesOf(entries: readonly PendingEntry[]): number {
  return entries.reduce((sum, { bytes }) => sum + bytes, 0);
}
