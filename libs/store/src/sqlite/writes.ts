// Inserts, updates and removes of one document, and the event each carries.
// Owner: the SQLite adapter (worker thread). Invariants: the guard and the change are one statement; the event
// joins the outbox in the same transaction; a refused write changes nothing.
import type { SQLInputValue } from 'node:sqlite';
import type { EventText, Guard, Refusal, WriteOperation } from './protocol.ts';
import { bindable } from './select.ts';
import type { Statements } from './statements.ts';
import { jsonPath, tableOf } from './tables.ts';

/** Thrown by an operation that is refused. */
export class Refused extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.kind);
    this.refusal = refusal;
  }
}

/** revision, eventSeq, pending events and their bytes. */
export type WrittenRow = readonly [number, number, number, number];

/** Throws `Refused`, or SQLite's error on a unique index. */
export function write(statements: Statements, operation: WriteOperation): WrittenRow {
  const row = operation.op === 'insert' ? insert(statements, operation) : change(statements, operation);
  const revision = row['revision'] as number;
  const eventSeq = row['event_seq'] as number;
  if (operation.event === undefined) return [revision, eventSeq, 0, 0];
  const { collection, id, event } = operation;
  addEvent(statements, collection, id, eventSeq, eventSeq, event);
  const pending = statements.get(
    'SELECT count(*) AS count, sum(bytes) AS bytes FROM outbox WHERE collection = ? AND id = ?',
    [collection, id],
  );
  return [revision, eventSeq, pending?.['count'] as number, pending?.['bytes'] as number];
}

export function addEvent(
  statements: Statements,
  collection: string,
  id: string,
  firstSeq: number,
  seq: number,
  { at, payload }: EventText,
): void {
  statements.run(
    'INSERT INTO outbox (collection, id, seq, first_seq, at, bytes, payload) VALUES (?, ?, ?, ?, ?, ?, ?)',
    [collection, id, seq, firstSeq, at, Buffer.byteLength(payload), payload],
  );
}

type Returned = Readonly<Record<string, unknown>>;

function insert(statements: Statements, operation: Extract<WriteOperation, { op: 'insert' }>): Returned {
  const { collection, id, value, schema, event } = operation;
  const row = statements.get(
    `INSERT INTO ${tableOf(collection)} AS old (id, revision, event_seq, schema, value) VALUES (?, 1, ?, ?, ?) ` +
      'ON CONFLICT (id) DO UPDATE SET revision = old.revision + 1, event_seq = old.event_seq + excluded.event_seq, ' +
      'schema = excluded.schema, value = excluded.value, deleted_at = NULL WHERE old.deleted_at IS NOT NULL ' +
      'RETURNING revision, event_seq',
    [id, event === undefined ? 0 : 1, schema.own, value],
  );
  if (row === undefined) throw new Refused({ kind: 'exists', index: 'id' });
  return row;
}

function change(statements: Statements, operation: Exclude<WriteOperation, { op: 'insert' }>): Returned {
  const { collection, id, guard, schema, event } = operation;
  const guards = guardTerms(guard);
  // A removed document keeps its counters alone; an update never lowers the version a newer program wrote.
  const set =
    operation.op === 'update'
      ? { text: 'value = ?, schema = max(schema, ?)', values: [operation.value, schema.own] }
      : { text: "value = '{}', deleted_at = ?", values: [operation.removedAt] };
  const row = statements.get(
    `UPDATE ${tableOf(collection)} SET ${set.text}, revision = revision + 1, event_seq = event_seq + ? ` +
      `WHERE id = ? AND deleted_at IS NULL AND schema BETWEEN ? AND ?${guards.text} RETURNING revision, event_seq`,
    [...set.values, event === undefined ? 0 : 1, id, schema.from, schema.to, ...guards.values],
  );
  if (row === undefined) throw whyNot(statements, operation);
  return row;
}

function guardTerms({ revision, fields }: Guard): { text: string; values: SQLInputValue[] } {
  let text = revision === undefined ? '' : ' AND revision = ?';
  const values: SQLInputValue[] = revision === undefined ? [] : [revision];
  for (const [path, value] of fields) {
    text += ' AND json_extract(value, ?) IS ?';
    values.push(jsonPath(path), value === null ? null : bindable(value));
  }
  return { text, values };
}

function whyNot(statements: Statements, { collection, id, schema }: WriteOperation): Refused {
  const row = statements.get(
    `SELECT schema FROM ${tableOf(collection)} WHERE id = ? AND deleted_at IS NULL`,
    [id],
  );
  if (row === undefined) return new Refused({ kind: 'not-found' });
  const stored = row['schema'] as number;
  if (stored < schema.from || stored > schema.to)
    return new Refused({ kind: 'schema', stored, own: schema.own });
  return new Refused({ kind: 'conflict' });
}
