// Inserts, updates and removes of one document, and the event each carries, as one atomic command.
// Owner: the MongoDB adapter. Invariants: the event joins the document in the command that changes it; a command
// changes the document only as it was looked at (its revision, or at least its schema and that it is there), so one
// that is sent again after a lost answer cannot add its event twice; a refused write changed nothing.
import { type Clock, Conflict } from '@nephos/service';
import {
  type Collection,
  type Document,
  MongoBulkWriteError,
  MongoServerError,
  type UpdateFilter,
} from 'mongodb';
import type { Json, Scalar } from '../collection.ts';
import type { EventToAdd, WriteRequest, Written } from '../driver.ts';
import { alreadyExists, conflict, notFound, wasRemoved } from '../failures.ts';
import { valueAt } from '../paths.ts';
import { schemaTooFar } from '../schema.ts';
import { isNear } from '../schema-range.ts';
import { type CounterDocument, counterFields, entryOf, type StoredDocument } from './document.ts';
import { isDuplicate } from './faults.ts';
import { Gather } from './gather.ts';
import { type CollectionIndexes, keyName, keysOf } from './indexes.ts';
import { idText } from './keys.ts';

type Insert = Extract<WriteRequest, { kind: 'insert' }>;
type Alteration = Exclude<WriteRequest, Insert>;

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
  async write(request: WriteRequest): Promise<Written> {
    for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
      const written = await (request.kind === 'insert'
        ? this.#insert(request)
        : this.#alter(request, attempt));
      if (written !== undefined) return written;
      if (attempt > eagerAttempts) await this.#clock.sleep(Math.random() * longestPauseMs);
    }
    throw new Conflict('REVISION_MISMATCH', `${this.#name}/${request.id} keeps changing`);
  }

  /** `undefined`: somebody else was at the document, and it has to be looked at again. */
  async #insert(request: Insert): Promise<Written | undefined> {
    const { id, value, schema, event } = request;
    const shape = this.#indexes.shape;
    const keys = keysOf(shape, id, value);
    const placed = { value: JSON.stringify(value), schema, keys, layout: shape.generation };
    const document = { _id: idText(id), revision: 1, ...placed, ...firstEvent(id, event) };
    try {
      await this.#inserts.add(document);
      return writtenOf(document, event);
    } catch (error) {
      if (!isDuplicate(error)) throw error;
    }
    const before = await this.#look(id, { revision: 1, removedAt: 1 });
    if (before === null) return await this.#refuseTaken(id, keys);
    if (before.removedAt === undefined) throw alreadyExists(this.#name, id, 'id');
    if (request.fresh) throw wasRemoved(this.#name, id);
    const asItWas = { revision: before.revision, removedAt: before.removedAt };
    return await this.#apply(id, asItWas, { $set: placed, $unset: { removedAt: '' } }, event, keys);
  }

  /** At first as if the document were of our version and as expected; looks at it only when that was wrong. */
  async #alter(request: Alteration, attempt: number): Promise<Written | undefined> {
    const { id, expected, schema } = request;
    if (attempt === 1 && typeof expected !== 'object') {
      const filter = { removedAt: null, schema, ...(expected !== undefined && { revision: expected }) };
      const written = await this.#change(request, filter, schema);
      if (written !== undefined) return written;
    }
    const before = await this.#look(id, {
      revision: 1,
      removedAt: 1,
      schema: 1,
      ...(typeof expected === 'object' && { value: 1 }),
    });
    if (before === null || before.removedAt !== undefined) throw notFound(this.#name, id);
    if (!isNear(before.schema, schema)) throw schemaTooFar(this.#name, id, before.schema, schema);
    if (typeof expected === 'number' && before.revision !== expected) throw conflict(this.#name, id);
    if (typeof expected === 'object' && !holds(expected.where, JSON.parse(before.value) as Json)) {
      throw conflict(this.#name, id);
    }
    // Never lowered: a document that a newer program wrote stays of its version.
    return await this.#change(
      request,
      { removedAt: null, revision: before.revision },
      Math.max(before.schema, schema),
    );
  }

  async #change(request: Alteration, filter: Document, schema: number): Promise<Written | undefined> {
    const { id, event } = request;
    if (request.kind === 'remove') {
      const update = {
        $set: { value: '{}', removedAt: request.removedAt },
        $unset: { keys: '', layout: '' },
      };
      return await this.#apply(id, filter, update, event, {});
    }
    const shape = this.#indexes.shape;
    const keys = keysOf(shape, id, request.value);
    const $set = { value: JSON.stringify(request.value), schema, keys, layout: shape.generation };
    return await this.#apply(id, filter, { $set }, event, keys);
  }

  async #apply(
    id: string,
    filter: Document,
    { $set, $unset }: { readonly $set: Document; readonly $unset?: Document },
    event: EventToAdd | undefined,
    keys: Readonly<Record<string, string>>,
  ): Promise<Written | undefined> {
    const entry = event === undefined ? undefined : entryOf(event);
    const update: UpdateFilter<StoredDocument> = {
      $set: entry === undefined ? $set : { ...$set, pendingId: idText(id) },
      ...($unset !== undefined && { $unset }),
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
      return after === null ? undefined : writtenOf(after, event);
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      return await this.#refuseTaken(id, keys);
    }
  }

  /** Asks which unique index it was: servers name it each in their own way, or not at all. */
  async #refuseTaken(id: string, keys: Readonly<Record<string, string>>): Promise<undefined> {
    for (const index of this.#indexes.shape.indexes) {
      const name = keyName(index);
      const key = keys[name];
      if (index.unique !== true || key === undefined) continue;
      const filter: Document = { [`keys.${name}`]: key, _id: { $ne: idText(id) } };
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
      if (!(error instanceof MongoBulkWriteError) || error.result.getWriteConcernError() !== undefined)
        throw error;
      const refused = Array.isArray(error.writeErrors) ? error.writeErrors : [error.writeErrors];
      for (const one of refused)
        outcomes[one.index] = { status: 'rejected', reason: new MongoServerError(one.toJSON()) };
    }
    return outcomes;
  }
}

function firstEvent(
  id: string,
  event: EventToAdd | undefined,
): Pick<StoredDocument, 'eventSeq' | 'pending' | 'pendingId' | 'pendingCount' | 'pendingBytes'> {
  if (event === undefined) return { eventSeq: 0 };
  const entry = entryOf(event);
  return {
    eventSeq: 1,
    pending: [entry],
    pendingId: idText(id),
    pendingCount: 1,
    pendingBytes: entry.bytes,
  };
}

function writtenOf(document: CounterDocument, event: EventToAdd | undefined): Written {
  const { revision, eventSeq, pendingCount = 0, pendingBytes = 0 } = document;
  if (event === undefined) return { revision, eventSeq, pendingCount: 0, pendingBytes: 0 };
  return { revision, eventSeq, pendingCount, pendingBytes };
}

function holds(fields: Readonly<Record<string, Scalar | null>>, value: Json): boolean {
  return Object.entries(fields).every(([path, expected]) => (valueAt(value, path) ?? null) === expected);
}
