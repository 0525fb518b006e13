// The database of one store: carries out arrays of operations, each array one synced transaction.
// Owner: the SQLite adapter; lives in its worker thread and is the file's only holder on the machine.
// Invariants: replies are made only once the transaction is synced; one operation's refusal leaves the others
// alone; an error of the disk is thrown, and ends the worker. A crash leaves the last synced transaction.
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type CollectionStatements, statementsOf } from './collection-statements.ts';
import { clear, clearAll, collapse, pending, pendingOf, sweep } from './events.ts';
import type { Operation, Refusal, Reply } from './protocol.ts';
import { selectCount, selectRows } from './select.ts';
import { type ResultRow, Statements } from './statements.ts';
import { applyCollection, collectionsIn, DuplicateValues, prepareFile } from './tables.ts';
import { Refused, write } from './writes.ts';

/** Pages (4 KiB) of write-ahead log after which it is written back; keeps it near 16 MiB. */
const checkpointPages = 4000;
const logSizeLimit = 64 * 1024 * 1024;
const cacheKiB = 16 * 1024;

/**
 * What a crash may forget: an event whose clearing is forgotten is published again under the same id. Reads change
 * nothing. A transaction of these alone waits for no disk.
 */
const forgettable: ReadonlySet<Operation['op']> = new Set([
  'clear',
  'clearAll',
  'get',
  'find',
  'count',
  'pending',
]);

const primaryCode = { error: 1, busy: 5, full: 13, tooBig: 18, constraint: 19 } as const;

export class Engine {
  readonly #db: DatabaseSync;
  readonly #statements: Statements;
  readonly #stored: Set<string>;
  readonly #texts = new Map<string, CollectionStatements>();
  #synced = true;

  /** Throws SQLite's error (see `isBusy`) when the file is held by another process, or is no database. */
  constructor(file: string) {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    makeFile(file);
    this.#db = new DatabaseSync(file, { timeout: 0 });
    try {
      this.#db.exec(`
        PRAGMA locking_mode = EXCLUSIVE;
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        PRAGMA wal_autocheckpoint = ${checkpointPages};
        PRAGMA journal_size_limit = ${logSizeLimit};
        PRAGMA cache_size = -${cacheKiB};
        PRAGMA temp_store = MEMORY;
        BEGIN IMMEDIATE;
      `);
      prepareFile(this.#db);
      this.#db.exec('COMMIT');
    } catch (error) {
      this.#db.close();
      throw error;
    }
    this.#statements = new Statements(this.#db);
    this.#stored = new Set(collectionsIn(this.#db));
  }

  /**
   * A reply an operation, in order, all synced but for what is forgettable. Throws when the disk failed: then nothing
   * is known to be.
   */
  run(operations: readonly Operation[]): Reply[] {
    this.#sync(operations.some(({ op }) => !forgettable.has(op)));
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      const replies = operations.map((operation) => this.#attempt(operation));
      this.#db.exec('COMMIT');
      return replies;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      if (codeOf(error) !== primaryCode.full) throw error;
      return operations.map(() => ({ refused: { kind: 'storage-full' } }));
    }
  }

  close(): void {
    this.#db.close();
  }

  /** Whether the next transaction waits for the disk; one that does syncs those before it too. */
  #sync(wanted: boolean): void {
    if (wanted === this.#synced) return;
    this.#db.exec(`PRAGMA synchronous = ${wanted ? 'FULL' : 'NORMAL'}`);
    this.#synced = wanted;
  }

  /** Whatever an operation may be refused for shows in its first statement, which SQLite undoes by itself. */
  #attempt(operation: Operation): Reply {
    try {
      return { result: this.#carryOut(operation) };
    } catch (error) {
      const refused = refusalOf(operation, error);
      return { refused: this.#isOfId(operation, refused) ?? refused };
    }
  }

  /** SQLite names any violated index, but an insert that is repeated has to hear what became of its id. */
  #isOfId(operation: Operation, refused: Refusal): Refusal | undefined {
    if (operation.op !== 'insert' || refused.kind !== 'exists') return undefined;
    const { collection, id, fresh } = operation;
    if (this.#get(collection, [id]).length > 0) return { kind: 'exists', index: 'id' };
    const hasTombstone = (): boolean =>
      this.#statements.get(this.#textsOf(collection).read, [id]) !== undefined;
    return fresh && hasTombstone() ? { kind: 'removed' } : undefined;
  }

  #carryOut(operation: Operation): unknown {
    switch (operation.op) {
      case 'insert':
      case 'update':
      case 'remove':
        return write(this.#statements, this.#textsOf(operation.collection), operation);
      case 'get':
        return this.#get(operation.collection, operation.ids);
      case 'find': {
        const { sql, values } = selectRows(operation.collection, operation.plan);
        return this.#statements.all(sql, values);
      }
      case 'count': {
        const { sql, values } = selectCount(operation.collection, operation.plan);
        return this.#statements.get(sql, values)?.[0];
      }
      case 'pendingOf':
        return pendingOf(this.#statements, operation.collection, operation.id);
      case 'pending':
        return pending(this.#statements, operation);
      case 'clear':
        return clear(this.#statements, operation);
      case 'clearAll':
        return clearAll(this.#statements, operation);
      case 'collapse':
        return collapse(this.#statements, operation);
      case 'sweep':
        return sweep(this.#statements, this.#stored, operation);
      case 'open':
        return this.#open(operation);
      case 'ping':
        return undefined;
    }
  }

  #get(collection: string, ids: readonly string[]): ResultRow[] {
    const { get } = this.#textsOf(collection);
    return ids.flatMap((id) => {
      const row = this.#statements.get(get, [id]);
      return row === undefined ? [] : [row];
    });
  }

  /** All or nothing: a new unique index may find duplicates after others were made. */
  #open({ collection, indexes }: Extract<Operation, { op: 'open' }>): void {
    this.#statements.forget();
    this.#db.exec('SAVEPOINT open');
    try {
      applyCollection(this.#db, collection, indexes);
    } catch (error) {
      this.#db.exec('ROLLBACK TO open; RELEASE open');
      throw error;
    }
    this.#db.exec('RELEASE open');
    this.#stored.add(collection);
    this.#texts.set(collection, statementsOf(collection, indexes));
  }

  #textsOf(collection: string): CollectionStatements {
    const texts = this.#texts.get(collection);
    if (texts === undefined) throw new Refused({ kind: 'internal', message: `${collection} is not open` });
    return texts;
  }
}

/**
 * Made here, so that neither the file nor its log (which takes its mode) can be read by other users. One that is
 * there is not opened: closing it again would drop the lock that another store of this process has on it.
 */
function makeFile(file: string): void {
  try {
    closeSync(openSync(file, 'ax', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Whether another process holds the file. */
export function isBusy(error: unknown): boolean {
  return codeOf(error) === primaryCode.busy;
}

/** Rethrows what is not about this operation alone. */
function refusalOf(operation: Operation, error: unknown): Refusal {
  if (error instanceof Refused) return error.refusal;
  if (error instanceof DuplicateValues && codeOf(error.cause) === primaryCode.constraint) {
    return { kind: 'duplicates', index: error.index };
  }
  const cause = error instanceof DuplicateValues ? error.cause : error;
  const message = cause instanceof Error ? cause.message : String(cause);
  switch (codeOf(cause)) {
    case primaryCode.constraint:
      return { kind: 'exists', index: violatedFields(message) };
    case primaryCode.tooBig:
      return { kind: 'too-large' };
    case primaryCode.error:
      return { kind: 'internal', message: `${operation.op}: ${message}` };
    default:
      throw cause;
  }
}

/** The fields in `UNIQUE constraint failed: c:vms.f:owner, c:vms.f:name`, comma-separated as in a definition. */
function violatedFields(message: string): string {
  return Array.from(message.matchAll(/\.f:([A-Za-z0-9_.]+)/g), (match) => match[1]).join();
}

function codeOf(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === 'number' ? code & 0xff : undefined;
}
