// Inserts, updates and removes of one document, and the event each carries, as one atomic command.
// Owner: the MongoDB adapter. Invariants: the event joins the document in the command that changes it; a command
// changes the document only as it was looked at (its revision, or at least its schema and that it is there), so one
// that is sent again after a lost answer cannot add its event twice; a refused write changed nothing.
import { type Clock, Conflict } from '@nephos/service';
import { type Collection, type Document, MongoServerError, type UpdateFilter } from 'mongodb';
import type { Json, Scalar } from '../collection.ts';
import type { WriteRequest, Written } from '../driver.ts';
import { alreadyExists, conflict, notFound, wasRemoved } from '../failures.ts';
import { valueAt } from '../paths.ts';
import { schemaTooFar } from '../schema.ts';
import { isNear } from '../schema-range.ts';
import {
  type CounterDocument,
  counterFields,
  type PendingEntry,
  type PreparedWrite,
  type StoredDocument,
} from './document.ts';
import { hasWriteErrors, isDuplicate, writeErrorsOf } from './faults.ts';
import { Gather } from './gather.ts';
import { type CollectionIndexes, keysOf } from './indexes.ts';
import { idText } from './keys.ts';

type Insert = Extract<WriteRequest, { kind: 'insert' }>;
type Update = Extract<WriteRequest, { kind: 'update' }>;
type Alteration = Exclude<WriteRequest, Insert>;

/** What a write puts into a document, but for its event. */
type Placed = Required<Pick<StoredDocument, 'value' | 'schema' | 'keys' | 'layout'>>;

const maxAttempts = 60;
const eagerAttempts = 3;
const longestPauseMs = 50;
const mostInserts = 1000;
const mostInsertBytes = 8 * 1024 * 1024;

export class Writes {
  readonly #name: string;
  readonly #documents: Collection<StoredDocument>;
  readonly #indexes: CollectionIndexes;
  readonly #clock: Clock;
  readonly #inserts: Gather<StoredDocument, undefined>;

  constructor(documents: Collection<StoredDocument>, indexes: CollectionIndexes, clock: Clock) {
    this.#name = documents.collectionName;
    this.#documents = documents;
    this.#indexes = indexes;
    this.#clock = clock;
    this.#inserts = new Gather({
      send: (batch) => this.#insertMany(batch),
      most: mostInserts,
      mostBytes: mostInsertBytes,
      bytesOf: ({ value, pendingBytes = 0 }) => value.length + pendingBytes,
    });
  }

  /** Throws the contract's errors, or the driver's. */
  async write(write: PreparedWrite): Promise<Written> {
    for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
      const { request } = write;
      const written = await (request.kind === 'insert'
        ? this.#insert(write, request)
        : this.#alter(write, request, attempt));
      if (written !== undefined) return written;
      if (attempt > eagerAttempts) await this.#clock.sleep(Math.random() * longestPauseMs);
    }
    throw new Conflict('REVISION_MISMATCH', `${this.#name}/${write.request.id} keeps changing`);
  }

  /** `undefined`: somebody else was at the document, and it has to be looked at again. */
  async #insert(write: PreparedWrite, request: Insert): Promise<Written | undefined> {
    const { id, schema } = request;
    const placed = this.#placed(write, request, schema);
    const document = { _id: idText(id), revision: 1, ...placed, ...firstEvent(id, write.entry) };
    try {
      await this.#inserts.add(document);
      return writtenOf(document, write.entry);
    } catch (error) {
      if (!isDuplicate(error)) throw error;
    }
    const before = await this.#look(id, { revision: 1, removedAt: 1 });
    if (before === null) return await this.#refuseTaken(id, placed.keys);
    if (before.removedAt === undefined) throw alreadyExists(this.#name, id, 'id');
    if (request.fresh) throw wasRemoved(this.#name, id);
    const asItWas = { revision: before.revision, removedAt: before.removedAt };
    return await this.#apply(write, asItWas, placed, ['removedAt']);
  }

  /** At first as if the document were of our version and as expected; looks at it only when that was wrong. */
  async #alter(write: PreparedWrite, request: Alteration, attempt: number): Promise<Written | undefined> {
    const { id, expected, schema } = request;
    if (attempt === 1 && typeof expected !== 'object') {
      const filter = { removedAt: null, schema, ...(expected !== undefined && { revision: expected }) };
      const written = await this.#change(write, request, filter, schema);
      if (written !== undefined) return written;
    }
    const guarded = typeof expected === 'object';
    const before = await this.#look(id, {
      revision: 1,
      removedAt: 1,
      schema: 1,
      ...(guarded && { value: 1 }),
    });
    if (before === null || before.removedAt !== undefined) throw notFound(this.#name, id);
    if (!isNear(before.schema, schema)) throw schemaTooFar(this.#name, id, before.schema, schema);
    const asExpected = guarded
      ? holds(expected.where, JSON.parse(before.value) as Json)
      : expected === undefined || expected === before.revision;
    if (!asExpected) throw conflict(this.#name, id);
    // Never lowered: a document that a newer program wrote stays of its version.
    const version = Math.max(before.schema, schema);
    return await this.#change(write, request, { removedAt: null, revision: before.revision }, version);
  }

  async #change(
    write: PreparedWrite,
    request: Alteration,
    filter: Document,
    schema: number,
  ): Promise<Written | undefined> {
    if (request.kind === 'update')
      return await this.#apply(write, filter, this.#placed(write, request, schema), []);
    const { removedAt } = request;
    return await this.#apply(write, filter, { value: write.value, removedAt, keys: {} }, ['keys', 'layout']);
  }

  #placed({ value }: PreparedWrite, request: Insert | Update, schema: number): Placed {
    const { generation, indexes } = this.#indexes.shape;
    return { value, schema, keys: keysOf(indexes, request.id, request.value), layout: generation };
  }

  /** Changes the document if the filter finds it. */
  async #apply(
    { request: { id }, entry }: PreparedWrite,
    filter: Document,
    set: Pick<Placed, 'keys'> & Document,
    unset: readonly string[],
  ): Promise<Written | undefined> {
    const kept = Object.entries(set).filter(([field]) => !unset.includes(field));
    const update: UpdateFilter<StoredDocument> = {
      $set: { ...Object.fromEntries(kept), ...(entry !== undefined && { pendingId: idText(id) }) },
      ...(unset.length > 0 && { $unset: Object.fromEntries(unset.map((field) => [field, ''])) }),
      $inc: {
        revision: 1,
        ...(entry !== undefined && { eventSeq: 1, pendingCount: 1, pendingBytes: entry.bytes }),
      },
      ...(entry !== undefined && { $push: { pending: entry } }),
    };
    try {
      const after = await this.#documents.findOneAndUpdate({ ...filter, _id: idText(id) }, update, {
        returnDocument: 'after',
        projection: counterFields,
      });
      return after === null ? undefined : writtenOf(after, entry);
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      return await this.#refuseTaken(id, set.keys);
    }
  }

  /** Asks which unique index it was: servers name it each in their own way, or not at all. */
  async #refuseTaken(id: string, keys: Readonly<Record<string, string>>): Promise<undefined> {
    for (const index of this.#indexes.shape.indexes) {
      const key = keys[index.key];
      if (index.unique !== true || key === undefined) continue;
      const filter: Document = { [`keys.${index.key}`]: key, _id: { $ne: idText(id) } };
      const other = await this.#documents.findOne(filter, { projection: { _id: 1 } });
      if (other !== null) throw alreadyExists(this.#name, id, index.name);
    }
    return undefined;
  }

  async #look(id: string, projection: Document): Promise<StoredDocument | null> {
    return await this.#documents.findOne({ _id: idText(id) }, { projection });
  }

  async #insertMany(batch: readonly StoredDocument[]): Promise<PromiseSettledResult<undefined>[]> {
    const outcomes = batch.map(
      (): PromiseSettledResult<undefined> => ({ status: 'fulfilled', value: undefined }),
    );
    try {
      await this.#documents.insertMany([...batch], { ordered: false });
    } catch (error) {
      if (!hasWriteErrors(error)) throw error;
      for (const refused of writeErrorsOf(error)) {
        outcomes[refused.index] = { status: 'rejected', reason: new MongoServerError(refused.toJSON()) };
      }
    }
    return outcomes;
  }
}

function firstEvent(
  id: string,
  entry: PendingEntry | undefined,
): Pick<StoredDocument, 'eventSeq' | 'pending' | 'pendingId' | 'pendingCount' | 'pendingBytes'> {
  if (entry === undefined) return { eventSeq: 0 };
  return {
    eventSeq: 1,
    pending: [entry],
    pendingId: idText(id),
    pendingCount: 1,
    pendingBytes: entry.bytes,
  };
}

function writtenOf(document: CounterDocument, entry: PendingEntry | undefined): Written {
  const { revision, eventSeq, pendingCount = 0, pendingBytes = 0 } = document;
  if (entry === undefined) return { revision, eventSeq, pendingCount: 0, pendingBytes: 0 };
  return { revision, eventSeq, pendingCount, pendingBytes };
}

function holds(fields: Readonly<Record<string, Scalar | null>>, value: Json): boolean {
  return Object.entries(fields).every(([path, expected]) => (valueAt(value, path) ?? null) === expected);
}
