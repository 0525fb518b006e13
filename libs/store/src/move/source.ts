// A SQLite store read as it lies, while nobody else can have it.
// Owner: libs/store. Invariants: the file is locked from opening to disposal, so that nothing is written behind the
// copy; nothing is written here, but for folding in the log of a process that was killed.
import { createHash, type Hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { Precondition } from '@nephos/service';
import type { IndexDefinition } from '../collection.ts';
import { isBusy } from '../sqlite/engine.ts';
import { collectionsIn, tableOf } from '../sqlite/tables.ts';

/** A document or tombstone as stored. `value` and payloads are JSON text. */
export interface RawDocument {
  readonly id: string;
  readonly revision: number;
  readonly eventSeq: number;
  readonly schema: number;
  readonly removedAt: number | undefined;
  readonly value: string;
  /** Oldest first. */
  readonly pending: readonly RawEvent[];
}

export interface RawEvent {
  readonly seq: number;
  readonly firstSeq: number;
  readonly at: string;
  readonly payload: string;
}

export interface SourceCollection {
  readonly name: string;
  readonly documents: number;
  readonly tombstones: number;
  readonly pendingEvents: number;
}

const layoutVersion = 1;

export class SqliteSource implements Disposable {
  readonly file: string;
  readonly #db: DatabaseSync;

  /** Throws `Precondition` when the file is no store, of a newer layout, or held by a process. */
  constructor(file: string) {
    this.file = file;
    if (!existsSync(file)) throw new Precondition('STATE_FORBIDS', `${file} is not there`);
    this.#db = new DatabaseSync(file, { timeout: 0 });
    try {
      this.#db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE');
      const { user_version: version } = this.#db.prepare('PRAGMA user_version').get() as {
        user_version: number;
      };
      if (version !== layoutVersion)
        throw new Error(`it is no store of layout ${layoutVersion} (${version})`);
    } catch (error) {
      this.#db.close();
      if (isBusy(error)) {
        throw new Precondition(
          'STATE_FORBIDS',
          `${file} is in use: stop the platform (Ctrl-C) and try again`,
        );
      }
      const why = error instanceof Error ? error.message : String(error);
      throw new Precondition('STATE_FORBIDS', `${file} cannot be read: ${why}`, { cause: error });
    }
  }

  collections(): SourceCollection[] {
    return collectionsIn(this.#db)
      .toSorted()
      .map((name) => {
        const counts = this.#db
          .prepare(`SELECT count(*) AS documents, count(deleted_at) AS tombstones FROM ${tableOf(name)}`)
          .get() as { documents: number; tombstones: number };
        const events = this.#db
          .prepare('SELECT count(*) AS pending FROM outbox WHERE collection = ?')
          .get(name);
        return { name, ...counts, pendingEvents: Number(events?.['pending']) };
      });
  }

  /** As they were declared by whoever wrote the file last. */
  indexesOf(collection: string): Record<string, IndexDefinition> {
    const prefix = `ix:${collection}:`;
    const listed = this.#db.prepare('SELECT name, "unique" FROM pragma_index_list(?)').all(`c:${collection}`);
    const own = listed.filter(({ name }) => String(name).startsWith(prefix));
    return Object.fromEntries(
      own.map(({ name, unique }) => {
        const columns = this.#db
          .prepare('SELECT name FROM pragma_index_info(?) ORDER BY seqno')
          .all(name ?? '');
        const fields = columns
          .map((column) => String(column['name']))
          .filter((column) => column.startsWith('f:'))
          .map((column) => column.slice('f:'.length));
        return [String(name).slice(prefix.length), { fields, unique: unique === 1 }];
      }),
    );
  }

  /** In the order of their ids, by code point. */
  *documents(collection: string): Generator<RawDocument> {
    const rows = this.#db
      .prepare(
        `SELECT id, revision, event_seq, schema, deleted_at, value FROM ${tableOf(collection)} ORDER BY id`,
      )
      .iterate();
    const events = this.#db.prepare(
      'SELECT seq, first_seq, at, payload FROM outbox WHERE collection = ? AND id = ? ORDER BY seq',
    );
    for (const row of rows) {
      const id = String(row['id']);
      const eventSeq = Number(row['event_seq']);
      yield {
        id,
        revision: Number(row['revision']),
        eventSeq,
        schema: Number(row['schema']),
        removedAt: row['deleted_at'] === null ? undefined : Number(row['deleted_at']),
        value: String(row['value']),
        pending: eventSeq === 0 ? [] : events.all(collection, id).map(eventOf),
      };
    }
  }

  /** Over every document of every collection. */
  digest(): string {
    const hash = createHash('sha256');
    for (const { name } of this.collections()) {
      hash.update(`${name}\n`);
      for (const document of this.documents(name)) addTo(hash, document);
    }
    return hash.digest('hex');
  }

  [Symbol.dispose](): void {
    this.#db.exec('ROLLBACK');
    this.#db.close();
  }
}

/** One document's part of a digest; the same text for the same document wherever it is stored. */
export function addTo(hash: Hash, document: RawDocument): void {
  hash.update(textOf(document)).update('\n');
}

export function textOf({ id, revision, eventSeq, schema, removedAt, value, pending }: RawDocument): string {
  const events = pending.map(({ seq, firstSeq, at, payload }) => [seq, firstSeq, at, payload]);
  return JSON.stringify([id, revision, eventSeq, schema, removedAt ?? null, value, events]);
}

function eventOf(row: Record<string, SQLOutputValue>): RawEvent {
  return {
    seq: Number(row['seq']),
    firstSeq: Number(row['first_seq']),
    at: String(row['at']),
    payload: String(row['payload']),
  };
}
