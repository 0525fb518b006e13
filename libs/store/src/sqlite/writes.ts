// Inserts, updates and removes of one document, and the event each carries.
// Owner: the SQLite adapter (worker thread; nothing else writes the file, so what was read still holds when it
// is written). Invariants: the event joins the outbox in the document's transaction; a refused write changed
// nothing; a unique index refuses in the one statement that writes the document, before its event is added.

import type { Json } from '../collection.ts';
import { valueAt } from '../paths.ts';
import { isNear } from '../schema-range.ts';
import type { CollectionStatements } from './collection-statements.ts';
import type { EventText, Guard, Indexed, Refusal, WriteOperation } from './protocol.ts';
import type { ResultRow, Statements } from './statements.ts';

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
export function write(
  statements: Statements,
  texts: CollectionStatements,
  operation: WriteOperation,
): WrittenRow {
  const { collection, id, event } = operation;
  const [revision, eventSeq] = writeDocument(statements, texts, operation);
  if (event === undefined) return [revision, eventSeq, 0, 0];
  addEvent(statements, collection, id, eventSeq, eventSeq, event);
  if (eventSeq === 1) return [revision, eventSeq, 1, Buffer.byteLength(event.payload)];
  const [count, bytes] = statements.get(
    'SELECT count(*), sum(bytes) FROM outbox WHERE collection = ? AND id = ?',
    [collection, id],
  ) as readonly [number, number];
  return [revision, eventSeq, count, bytes];
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

type Counters = readonly [revision: number, eventSeq: number];

/** A document as it is before the write. */
interface Before {
  readonly row: number;
  readonly revision: number;
  readonly eventSeq: number;
  readonly schema: number;
  readonly removed: boolean;
  readonly indexed: readonly unknown[];
}

function writeDocument(
  statements: Statements,
  texts: CollectionStatements,
  operation: WriteOperation,
): Counters {
  const { id, schema } = operation;
  const events = operation.event === undefined ? 0 : 1;
  if (operation.op === 'insert') {
    const added = statements.run(texts.insert, [id, events, schema, operation.value, ...operation.indexed]);
    if (added > 0) return [1, events];
  }
  const before = read(statements, texts, id);
  const revision = before.revision + 1;
  const eventSeq = before.eventSeq + events;
  if (operation.op === 'insert') {
    if (!before.removed) throw new Refused({ kind: 'exists', index: 'id' });
    if (operation.fresh) throw new Refused({ kind: 'removed' });
    const { value, indexed } = operation;
    statements.run(texts.replace, [value, schema, revision, eventSeq, ...indexed, before.row]);
    return [revision, eventSeq];
  }
  checkGuard(statements, texts, operation, before);
  if (operation.op === 'remove') {
    statements.run(texts.remove, [operation.removedAt, revision, eventSeq, before.row]);
    return [revision, eventSeq];
  }
  const { value, indexed } = operation;
  // Never lowered: a document that a newer program wrote stays of its version.
  const version = Math.max(before.schema, schema);
  const same = isSame(before.indexed, indexed);
  if (same) statements.run(texts.replaceUnindexed, [value, version, revision, eventSeq, before.row]);
  else statements.run(texts.replace, [value, version, revision, eventSeq, ...indexed, before.row]);
  return [revision, eventSeq];
}

/** A removed document counts as there only for an insert. */
function read(statements: Statements, texts: CollectionStatements, id: string): Before {
  const found = statements.get(texts.read, [id]) as
    | readonly [number, number, number, number, number | null]
    | undefined;
  if (found === undefined) throw new Refused({ kind: 'not-found' });
  const [row, revision, eventSeq, schema, deletedAt, ...indexed] = found;
  return { row, revision, eventSeq, schema, removed: deletedAt !== null, indexed };
}

function checkGuard(
  statements: Statements,
  texts: CollectionStatements,
  { guard, schema }: Exclude<WriteOperation, { op: 'insert' }>,
  before: Before,
): void {
  if (before.removed) throw new Refused({ kind: 'not-found' });
  if (!isNear(before.schema, schema))
    throw new Refused({ kind: 'schema', stored: before.schema, own: schema });
  if (guard === undefined || guard === before.revision) return;
  if (typeof guard === 'number') throw new Refused({ kind: 'conflict' });
  const [text] = statements.get(texts.readValue, [before.row]) as readonly [string];
  if (!holds(guard, JSON.parse(text) as Json)) throw new Refused({ kind: 'conflict' });
}

function holds(fields: Exclude<Guard, number | undefined>, value: Json): boolean {
  return fields.every(([path, expected]) => (valueAt(value, path) ?? null) === expected);
}

function isSame(before: ResultRow | readonly unknown[], now: readonly Indexed[]): boolean {
  return now.every((value, position) => value === before[position]);
}
