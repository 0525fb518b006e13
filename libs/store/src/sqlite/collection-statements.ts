// The texts of the statements that read and write single documents of one collection.
// Owner: the SQLite adapter (worker thread). An update whose indexed fields stay as they are uses a statement
// that does not name them, so that SQLite leaves the indexes alone.
import type { IndexDefinition } from '../collection.ts';
import { columnOf, indexedFields, tableOf } from './tables.ts';

export interface CollectionStatements {
  /** id → id, revision, event_seq, schema, value; not of tombstones. */
  readonly get: string;
  /** id → rowid, revision, event_seq, schema, deleted_at, indexed fields. */
  readonly read: string;
  /** rowid → value */
  readonly readValue: string;
  /** id, event_seq, schema, value, indexed fields; changes nothing when the id is there. */
  readonly insert: string;
  /** value, schema, revision, event_seq, indexed fields, rowid; also brings a tombstone back. */
  readonly replace: string;
  /** value, schema, revision, event_seq, rowid */
  readonly replaceUnindexed: string;
  /** deleted_at, revision, event_seq, rowid */
  readonly remove: string;
}

export function statementsOf(
  collection: string,
  indexes: Readonly<Record<string, IndexDefinition>>,
): CollectionStatements {
  const table = tableOf(collection);
  const columns = indexedFields(indexes).map(columnOf);
  const listed = columns.map((column) => `, ${column}`).join('');
  const places = columns.map(() => ', ?').join('');
  const set = columns.map((column) => `, ${column} = ?`).join('');
  return {
    get: `SELECT id, revision, event_seq, schema, value FROM ${table} WHERE id = ? AND deleted_at IS NULL`,
    read: `SELECT rowid, revision, event_seq, schema, deleted_at${listed} FROM ${table} WHERE id = ?`,
    readValue: `SELECT value FROM ${table} WHERE rowid = ?`,
    insert:
      `INSERT INTO ${table} (id, revision, event_seq, schema, value${listed}) VALUES (?, 1, ?, ?, ?${places}) ` +
      'ON CONFLICT (id) DO NOTHING',
    replace:
      `UPDATE ${table} SET value = ?, schema = ?, revision = ?, event_seq = ?${set}, deleted_at = NULL ` +
      'WHERE rowid = ?',
    replaceUnindexed: `UPDATE ${table} SET value = ?, schema = ?, revision = ?, event_seq = ? WHERE rowid = ?`,
    remove: `UPDATE ${table} SET value = '{}', deleted_at = ?, revision = ?, event_seq = ? WHERE rowid = ?`,
  };
}
