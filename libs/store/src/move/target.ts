// A MongoDB database that takes a copy of another store, document by document as they are.
// Owner: libs/store. Invariants: only an empty database, or one that holds the beginning of the same copy, is
// written; the copy counts as whole only once every document was read back. A crash leaves a database on which no
// store opens, and the same move goes on from there.
import type { Hash } from 'node:crypto';
import { Internal, newUid, Precondition } from '@nephos/service';
import { type Collection, type Db, MongoBulkWriteError, type MongoClient } from 'mongodb';
import type { IndexDefinition, Json } from '../collection.ts';
import { type PendingEntry, type StoredDocument, sequencesOf } from '../mongo/document.ts';
import { isDuplicate, storeError } from '../mongo/faults.ts';
import { CollectionIndexes, declared, keysOf, layoutCollection } from '../mongo/indexes.ts';
import { idOf, idText } from '../mongo/keys.ts';
import { type MoveRecord, moveRecords } from '../mongo/move-record.ts';
import { clientOf, databaseFor, databaseOf } from '../mongo/open.ts';
import { addTo, type RawDocument, textOf } from './source.ts';

/** What is there before the copy. */
export type TargetState = 'empty' | 'unfinished' | 'done';

const batchDocuments = 500;
const batchBytes = 4 * 1024 * 1024;
/** What MongoDB takes, less room for the fields around the texts. */
const maxBytes = 15.5 * 1024 * 1024;

export class MongoTarget implements AsyncDisposable {
  readonly #client: MongoClient;
  readonly name: string;
  #db: Db;

  constructor(url: string) {
    this.name = databaseOf(url);
    this.#client = clientOf(url);
    this.#db = this.#client.db(this.name);
  }

  /** Writes nothing. Throws `Precondition` when there is something else, `Unavailable`. */
  async look(digest: string): Promise<TargetState> {
    return await this.#told(async () => {
      const listed = await this.#db.listCollections({}, { nameOnly: true }).toArray();
      const record = await moveRecords(this.#db).findOne({ _id: 'move' });
      if (record === null) {
        if (listed.every(({ name }) => name === layoutCollection)) return 'empty';
        throw this.#refuse('is not empty: choose another prefix, or drop it');
      }
      if (record.digest === digest) return record.state === 'done' ? 'done' : 'unfinished';
      throw this.#refuse(
        record.state === 'done'
          ? 'holds a store that was moved here before, and the files have changed since'
          : 'holds an unfinished copy of other files, or these have changed since: drop it and begin anew',
      );
    });
  }

  async begin(digest: string, documents: number): Promise<void> {
    await this.#told(async () => {
      this.#db = await databaseFor(this.#client, this.name, undefined);
      const record: MoveRecord = { _id: 'move', digest, state: 'copying', documents };
      try {
        await moveRecords(this.#db).insertOne(record);
      } catch (error) {
        if (!isDuplicate(error)) throw error;
      }
    });
  }

  async copy(
    collection: string,
    indexes: Readonly<Record<string, IndexDefinition>>,
    documents: Iterable<RawDocument>,
    onCopied: (count: number) => void,
  ): Promise<void> {
    await this.#told(async () => {
      const { shape } = await CollectionIndexes.open(this.#db, collection, declared(indexes));
      const into = this.#db.collection<StoredDocument>(collection);
      let batch: StoredDocument[] = [];
      let bytes = 0;
      const send = async (): Promise<void> => {
        await insertMissing(into, batch);
        onCopied(batch.length);
        batch = [];
        bytes = 0;
      };
      for (const document of documents) {
        const stored = storedOf(collection, document);
        const live = document.removedAt === undefined;
        const keys = live ? keysOf(shape.indexes, document.id, JSON.parse(document.value) as Json) : {};
        batch.push(live ? { ...stored, keys, layout: shape.generation } : stored);
        bytes += document.value.length + (stored.pendingBytes ?? 0);
        if (batch.length >= batchDocuments || bytes >= batchBytes) await send();
      }
      if (batch.length > 0) await send();
    });
  }

  /** Reads the copy back against the source, into `hash`. Throws `Internal` naming the first that differs. */
  async verify(
    collection: string,
    documents: Iterable<RawDocument>,
    hash: Hash,
    onVerified: (count: number) => void,
  ): Promise<void> {
    await this.#told(async () => {
      const copies = this.#db.collection<StoredDocument>(collection).find().sort({ _id: 1 });
      let verified = 0;
      hash.update(`${collection}\n`);
      for (const document of documents) {
        const copy = await copies.next();
        const found = copy === null ? undefined : rawOf(copy);
        if (found === undefined || textOf(found) !== textOf(document)) {
          throw new Internal('INTERNAL', `the copy of ${collection}/${document.id} differs: it is not whole`);
        }
        addTo(hash, found);
        verified += 1;
        if (verified % batchDocuments === 0) onVerified(batchDocuments);
      }
      onVerified(verified % batchDocuments);
      if ((await copies.next()) !== null) {
        throw new Internal('INTERNAL', `the copy of ${collection} has more documents than the source`);
      }
    });
  }

  async finish(): Promise<void> {
    await this.#told(() => moveRecords(this.#db).updateOne({ _id: 'move' }, { $set: { state: 'done' } }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }

  #refuse(why: string): Precondition {
    return new Precondition('STATE_FORBIDS', `the MongoDB database ${this.name} ${why}`);
  }

  async #told<R>(work: () => Promise<R>): Promise<R> {
    try {
      return await work();
    } catch (error) {
      throw storeError(error);
    }
  }
}

/** Those of an earlier attempt are there already. */
async function insertMissing(into: Collection<StoredDocument>, batch: StoredDocument[]): Promise<void> {
  try {
    await into.insertMany(batch, { ordered: false });
  } catch (error) {
    if (!(error instanceof MongoBulkWriteError)) throw error;
    const refused = [error.writeErrors].flat();
    if (refused.length === 0 || refused.some(({ code }) => code !== 11_000)) throw error;
  }
}

/** Throws `Precondition` when MongoDB cannot hold it. */
function storedOf(collection: string, raw: RawDocument): StoredDocument {
  const { id, revision, eventSeq, schema, removedAt, value } = raw;
  const pending = raw.pending.map(
    ({ seq, firstSeq, at, payload }): PendingEntry => ({
      key: newUid(),
      count: seq - firstSeq + 1,
      at,
      bytes: Buffer.byteLength(payload),
      payload,
    }),
  );
  const pendingBytes = pending.reduce((sum, { bytes }) => sum + bytes, 0);
  const bytes = Buffer.byteLength(value) + pendingBytes;
  if (bytes > maxBytes) {
    throw new Precondition(
      'STATE_FORBIDS',
      `${collection}/${id} is ${bytes} bytes with its unpublished events, more than MongoDB holds: ` +
        'start the platform on the files once more until they are published',
    );
  }
  const stored: StoredDocument = {
    ...{ _id: idText(id), revision, eventSeq, schema, value },
    ...(removedAt !== undefined && { removedAt }),
    ...(pending.length > 0 && { pending, pendingId: idText(id), pendingCount: pending.length, pendingBytes }),
  };
  return stored;
}

function rawOf(stored: StoredDocument): RawDocument {
  const { _id, revision, eventSeq, schema, removedAt, value } = stored;
  const pending = sequencesOf(stored).map(([seq, { count, at, payload }]) => ({
    seq,
    firstSeq: seq - count + 1,
    at,
    payload,
  }));
  return { id: idOf(_id), revision, eventSeq, schema, removedAt, value, pending };
}
