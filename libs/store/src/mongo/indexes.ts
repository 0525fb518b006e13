// Which index keys the documents of a collection carry, agreed between all processes that write it.
// Owner: the MongoDB adapter. One record a collection names the indexes that everybody maintains, and their
// generation; a document says for which generation its keys are complete. Who opens a collection with an index that
// is not named adds it, raises the generation and brings older documents up; the others learn of it within a few
// seconds, and what they wrote meanwhile is brought up behind them. Invariants: an index that another version of the
// program still queries by is not taken from it, but a unique one that the last opener does not declare binds no
// longer. A crash while documents are brought up leaves the rest to the next process that opens or looks.
import { createHash } from 'node:crypto';
import { Internal, Precondition } from '@nephos/service';
import type { AnyBulkWriteOperation, Collection, Db } from 'mongodb';
import type { IndexDefinition, Json } from '../collection.ts';
import type { StoredDocument } from './document.ts';
import { isDuplicate, serverCode } from './faults.ts';
import { idOf, keyOf } from './keys.ts';

export interface MaintainedIndex extends IndexDefinition {
  readonly name: string;
  /** A field below `keys`, and a MongoDB index; of the definition too, so that a changed one is another. */
  readonly key: string;
}

/** The collection of these records; a dot keeps it apart from those of the store. */
export const layoutCollection = 'nephos.layout';
const layoutVersion = 1;

interface LayoutRecord {
  readonly _id: string;
  readonly generation: number;
  readonly indexes: readonly MaintainedIndex[];
}

/** What writes of one collection go by; replaced as a whole when the record changed. */
export interface Shape {
  readonly generation: number;
  /** With those that this process declares. */
  readonly indexes: readonly MaintainedIndex[];
}

const housekeeping = ['pendingId', 'removedAt', 'layout'] as const;
const batchSize = 200;
const maxAttempts = 50;
const indexNotFound = 27;
const notImplemented = 238;

export function keysOf(indexes: readonly MaintainedIndex[], id: string, value: Json): Record<string, string> {
  const keys: Record<string, string> = {};
  for (const index of indexes) {
    const key = keyOf(index, id, value);
    if (key !== undefined) keys[index.key] = key;
  }
  return keys;
}

export function declared(indexes: Readonly<Record<string, IndexDefinition>>): MaintainedIndex[] {
  return Object.entries(indexes).map(([name, { fields, unique = false }]) => {
    const digest = createHash('sha256')
      .update(JSON.stringify([fields, unique]))
      .digest('hex');
    return { name, fields: [...fields], unique, key: `${name}_${digest.slice(0, 8)}` };
  });
}

/** Throws when a newer program laid the database out. */
export async function checkLayout(db: Db): Promise<void> {
  const records = db.collection<{ _id: string; version: number }>(layoutCollection);
  try {
    await records.insertOne({ _id: 'store', version: layoutVersion });
  } catch (error) {
    if (!isDuplicate(error)) throw error;
    const found = await records.findOne({ _id: 'store' });
    if ((found?.version ?? 0) > layoutVersion) {
      throw new Precondition(
        'STATE_FORBIDS',
        `the database's layout ${found?.version} is newer than this program's`,
      );
    }
  }
}

export class CollectionIndexes {
  readonly #db: Db;
  readonly #name: string;
  readonly #own: readonly MaintainedIndex[];
  #shape: Shape;
  #added: ReadonlySet<string> = new Set();

  /** Throws `Precondition` when documents share a value of a new unique index. */
  static async open(db: Db, name: string, own: readonly MaintainedIndex[]): Promise<CollectionIndexes> {
    const opened = new CollectionIndexes(db, name, own);
    await opened.#agree();
    try {
      await opened.#createIndexes();
      await opened.#bringUp();
    } catch (error) {
      if (isDuplicate(error)) throw await opened.#refused(error);
      throw error;
    }
    return opened;
  }

  private constructor(db: Db, name: string, own: readonly MaintainedIndex[]) {
    this.#db = db;
    this.#name = name;
    this.#own = own;
    this.#shape = { generation: 0, indexes: own };
  }

  get shape(): Shape {
    return this.#shape;
  }

  /** The key of an index that this process declares. */
  keyOf(index: string): string {
    const found = this.#own.find(({ name }) => name === index);
    if (found === undefined) throw new Internal('INTERNAL', `${this.#name} has no index ${index}`);
    return found.key;
  }

  /** Learns what others agreed on since, and brings up what they wrote before they had heard of it. */
  async refresh(): Promise<void> {
    const record = await this.#records.findOne({ _id: this.#recordId });
    if (record !== null && record.generation !== this.#shape.generation) this.#take(record);
    await this.#bringUp();
  }

  get #records(): Collection<LayoutRecord> {
    return this.#db.collection<LayoutRecord>(layoutCollection);
  }

  get #documents(): Collection<StoredDocument> {
    return this.#db.collection<StoredDocument>(this.#name);
  }

  get #recordId(): string {
    return `collection:${this.#name}`;
  }

  #take({ generation, indexes }: Omit<LayoutRecord, '_id'>): void {
    const named = new Set(indexes.map(({ key }) => key));
    const others = this.#own.filter((index) => !named.has(index.key));
    this.#shape = { generation, indexes: [...indexes, ...others] };
  }

  /** Adds what is declared here, lets go of unique indexes that are not. */
  async #agree(): Promise<void> {
    const own = new Set(this.#own.map(({ key }) => key));
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const record = await this.#records.findOne({ _id: this.#recordId });
      const kept = (record?.indexes ?? []).filter((index) => own.has(index.key) || index.unique !== true);
      const dropped = (record?.indexes ?? []).filter((index) => !kept.includes(index));
      const known = new Set(kept.map(({ key }) => key));
      const indexes = [...kept, ...this.#own.filter((index) => !known.has(index.key))];
      if (record !== null && dropped.length === 0 && indexes.length === kept.length)
        return this.#take(record);
      this.#added = new Set(indexes.slice(kept.length).map(({ key }) => key));
      if (!(await this.#replace(record, indexes))) continue;
      for (const index of dropped) await this.#dropIndex(index.key);
      return;
    }
    throw new Precondition('STATE_FORBIDS', `collection ${this.#name}: its indexes keep changing`);
  }

  /** False: another process was first. */
  async #replace(before: LayoutRecord | null, indexes: readonly MaintainedIndex[]): Promise<boolean> {
    const next = { generation: (before?.generation ?? 0) + 1, indexes };
    if (before === null) {
      try {
        await this.#records.insertOne({ _id: this.#recordId, ...next });
      } catch (error) {
        if (isDuplicate(error)) return false;
        throw error;
      }
    } else {
      const { _id, generation } = before;
      const { matchedCount } = await this.#records.updateOne({ _id, generation }, { $set: next });
      if (matchedCount === 0) return false;
    }
    this.#take(next);
    return true;
  }

  /** FerretDB knows no sparse indexes, but SQL's unique ones behind it leave out what is missing. */
  async #createIndexes(): Promise<void> {
    const wanted = [
      ...housekeeping.map((name) => ({ name, key: { [name]: 1 } as const })),
      ...this.#own.map(({ key: name, unique }) => ({
        name,
        key: { [`keys.${name}`]: 1 } as const,
        ...(unique === true && { unique }),
      })),
    ];
    try {
      await this.#documents.createIndexes(wanted.map((index) => ({ ...index, sparse: true })));
    } catch (error) {
      if (serverCode(error) !== notImplemented) throw error;
      await this.#documents.createIndexes(wanted);
    }
  }

  /** Computes the keys of documents that were written for an older generation, or without keys. */
  async #bringUp(): Promise<void> {
    for (;;) {
      const { generation } = this.#shape;
      const stale = await this.#documents
        .find({ layout: { $lt: generation } })
        .project<StoredDocument>({ revision: 1, value: 1, layout: 1 })
        .limit(batchSize)
        .toArray();
      if (stale.length === 0) return;
      const updates = stale.map((document): AnyBulkWriteOperation<StoredDocument> => {
        const keys = keysOf(this.#shape.indexes, idOf(document._id), JSON.parse(document.value) as Json);
        const { _id, revision, layout = 0 } = document;
        return {
          updateOne: { filter: { _id, revision, layout }, update: { $set: { keys, layout: generation } } },
        };
      });
      await this.#documents.bulkWrite(updates, { ordered: false });
    }
  }

  async #dropIndex(name: string): Promise<void> {
    try {
      await this.#documents.dropIndex(name);
    } catch (error) {
      if (serverCode(error) !== indexNotFound) throw error;
    }
  }

  /** Takes back the unique indexes that documents do not go with, or all new ones where the server names none. */
  async #refused(cause: Error): Promise<Precondition> {
    const unique = this.#own.filter((index) => index.unique === true);
    const named = unique.filter((index) => cause.message.includes(index.key));
    const violated = named.length > 0 ? named : unique.filter((index) => this.#added.has(index.key));
    const record = await this.#records.findOne({ _id: this.#recordId });
    const gone = new Set(violated.map(({ key }) => key));
    if (record !== null) {
      const others = record.indexes.filter((index) => !gone.has(index.key));
      await this.#replace(record, others);
    }
    for (const name of gone) await this.#dropIndex(name);
    const told = violated.map(({ name }) => name).join(', ');
    return new Precondition(
      'STATE_FORBIDS',
      `collection ${this.#name}: documents share a value of the new unique index ${told}`,
      { cause },
    );
  }
}
