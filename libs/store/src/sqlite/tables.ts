// The tables, columns and indexes of a collection, and how an existing file is brought to what is declared.
// Owner: the SQLite adapter (worker thread). A collection is one table; an indexed field is a column filled with
// each write (so that SQLite parses no JSON on the way); an index leaves out tombstones and documents that lack
// one of its fields. Pending events of all collections lie in one table, written in the same
// transaction as the document they travel with, so that publishing rewrites no document.
import type { DatabaseSync } from 'node:sqlite';
import type { IndexDefinition } from '../collection.ts';

/** Raised when the layout below changes in a way that older programs cannot read. */
const layoutVersion = 1;

export const tableOf = (collection: string): string => `"c:${collection}"`;
export const columnOf = (path: string): string => (path === 'id' ? 'id' : `"f:${path}"`);
export const indexOf = (collection: string, index: string): string => `"ix:${collection}:${index}"`;
const jsonPath = (path: string): string =>
  `$.${path
    .split('.')
    .map((name) => `"${name}"`)
    .join('.')}`;

/** The fields that have a column, in the order in which writes carry their values. */
export function indexedFields(indexes: Readonly<Record<string, IndexDefinition>>): string[] {
  return [...new Set(Object.values(indexes).flatMap((index) => index.fields))];
}

/** What every query through an index, and the index itself, is limited to. */
export function indexedRows(fields: readonly string[]): string {
  return ['deleted_at IS NULL', ...fields.map((field) => `${columnOf(field)} IS NOT NULL`)].join(' AND ');
}

/** Lays out a new file. Throws when a newer program laid it out. */
export function prepareFile(db: DatabaseSync): void {
  const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number };
  if (version > layoutVersion) throw new Error(`the file's layout ${version} is newer than this program's`);
  db.exec(`
    CREATE TABLE IF NOT EXISTS outbox (
      collection TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, first_seq INTEGER NOT NULL,
      at TEXT NOT NULL, bytes INTEGER NOT NULL, payload TEXT NOT NULL,
      PRIMARY KEY (collection, id, seq)
    ) STRICT;
    PRAGMA user_version = ${layoutVersion};
  `);
}

/** Names of the collections that the file holds. */
export function collectionsIn(db: DatabaseSync): string[] {
  const rows = db.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'c:%'`).all();
  return rows.map((row) => (row['name'] as string).slice('c:'.length));
}

export class DuplicateValues extends Error {
  readonly index: string;

  constructor(index: string, cause: unknown) {
    super(`documents share a value of the unique index ${index}`, { cause });
    this.index = index;
  }
}

/** Makes the table where missing, drops indexes no longer declared, makes new and changed ones. */
export function applyCollection(
  db: DatabaseSync,
  collection: string,
  indexes: Readonly<Record<string, IndexDefinition>>,
): void {
  const table = tableOf(collection);
  db.exec(`
    CREATE TABLE IF NOT EXISTS ${table} (
      id TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL, event_seq INTEGER NOT NULL,
      schema INTEGER NOT NULL, deleted_at INTEGER, value TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS "tombstones:${collection}" ON ${table} (deleted_at) WHERE deleted_at IS NOT NULL;
  `);
  const wanted = new Map(
    Object.entries(indexes).map(([name, index]) => [name, indexStatement(collection, name, index)]),
  );
  for (const [name, statement] of existingIndexes(db, collection)) {
    if (wanted.get(name) === statement) wanted.delete(name);
    else db.exec(`DROP INDEX ${indexOf(collection, name)}`);
  }
  applyColumns(db, collection, indexedFields(indexes));
  for (const [name, statement] of wanted) {
    try {
      db.exec(statement);
    } catch (error) {
      throw new DuplicateValues(name, error);
    }
  }
}

/** Fills new columns from the documents; drops others, since from now on nobody would keep them right. */
function applyColumns(db: DatabaseSync, collection: string, fields: readonly string[]): void {
  const table = tableOf(collection);
  const known = db.prepare('SELECT name FROM pragma_table_info(?)').all(`c:${collection}`);
  const present = known.map((row) => row['name'] as string).filter((name) => name.startsWith('f:'));
  for (const name of present) {
    if (!fields.includes(name.slice('f:'.length))) db.exec(`ALTER TABLE ${table} DROP COLUMN "${name}"`);
  }
  for (const field of fields) {
    if (present.includes(`f:${field}`)) continue;
    db.exec(`ALTER TABLE ${table} ADD COLUMN ${columnOf(field)} ANY`);
    db.exec(
      `UPDATE ${table} SET ${columnOf(field)} = json_extract(value, '${jsonPath(field)}') ` +
        `WHERE json_type(value, '${jsonPath(field)}') IN ('text', 'integer', 'real', 'true', 'false')`,
    );
  }
}

function indexStatement(collection: string, name: string, index: IndexDefinition): string {
  const unique = index.unique === true;
  const columns = [...index.fields, ...(unique ? [] : ['id'])].map(columnOf).join(', ');
  return (
    `CREATE ${unique ? 'UNIQUE ' : ''}INDEX ${indexOf(collection, name)} ON ${tableOf(collection)} ` +
    `(${columns}) WHERE ${indexedRows(index.fields)}`
  );
}

function existingIndexes(db: DatabaseSync, collection: string): Map<string, string> {
  const prefix = `ix:${collection}:`;
  const rows = db
    .prepare(`SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?`)
    .all(`c:${collection}`) as { name: string; sql: string | null }[];
  return new Map(
    rows.flatMap(({ name, sql }) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), sql ?? '']] : [],
    ),
  );
}
