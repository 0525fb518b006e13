// The outbox table: what waits for the relay, clearing, collapsing, sweeping.
// Owner: the SQLite adapter (worker thread). Invariant: none of this touches a document's counters.
import type { EventRow, Operation, PendingRow } from './protocol.ts';
import type { Statements } from './statements.ts';
import { tableOf } from './tables.ts';
import { addEvent } from './writes.ts';

/** One answer to the relay stays below this, except for a single document that is larger. */
const maxAnswerBytes = 8 * 1024 * 1024;

type Of<K extends Operation['op']> = Extract<Operation, { op: K }>;

export function pendingOf(statements: Statements, collection: string, id: string): EventRow[] {
  return statements.all(
    'SELECT seq, first_seq, at, payload FROM outbox WHERE collection = ? AND id = ? ORDER BY seq',
    [collection, id],
  ) as unknown as EventRow[];
}

export function pending(statements: Statements, { limit, after }: Of<'pending'>): PendingRow[] {
  const keys = statements.all(
    'SELECT collection, id, sum(bytes) AS bytes FROM outbox WHERE (collection, id) > (?, ?) ' +
      'GROUP BY collection, id ORDER BY collection, id LIMIT ?',
    [...after, limit],
  ) as unknown as (readonly [string, string, number])[];
  const found: PendingRow[] = [];
  let total = 0;
  for (const [collection, id, bytes] of keys) {
    total += bytes;
    if (found.length > 0 && total > maxAnswerBytes) break;
    const [eventSeq, deletedAt] = statements.get(
      `SELECT event_seq, deleted_at FROM ${tableOf(collection)} WHERE id = ?`,
      [id],
    ) as readonly [number, number | null];
    found.push({
      collection,
      id,
      deleted: deletedAt !== null,
      eventSeq,
      events: pendingOf(statements, collection, id),
    });
  }
  return found;
}

const deleteCleared = 'DELETE FROM outbox WHERE collection = ? AND id = ? AND seq <= ?';

export function clear(statements: Statements, { collection, id, upToSeq }: Of<'clear'>): void {
  statements.run(deleteCleared, [collection, id, upToSeq]);
}

export function clearAll(statements: Statements, { events }: Of<'clearAll'>): void {
  for (const event of events) statements.run(deleteCleared, event);
}

/** Only while the head is still exactly what the caller collapsed. */
export function collapse(statements: Statements, operation: Of<'collapse'>): void {
  const { collection, id, firstSeq, fromSeq, toSeq, count, event } = operation;
  const [first, found] = statements.get(
    'SELECT min(seq), count(*) FROM outbox WHERE collection = ? AND id = ? AND seq <= ?',
    [collection, id, toSeq],
  ) as readonly [number | null, number];
  if (first !== fromSeq || found !== count) return;
  clear(statements, { op: 'clear', collection, id, upToSeq: toSeq });
  addEvent(statements, collection, id, firstSeq, toSeq, event);
}

export function sweep(
  statements: Statements,
  collections: Iterable<string>,
  { removedBefore, limit }: Of<'sweep'>,
): number {
  let swept = 0;
  for (const collection of collections) {
    if (swept === limit) break;
    const table = tableOf(collection);
    swept += statements.run(
      `DELETE FROM ${table} WHERE id IN (SELECT id FROM ${table} AS old WHERE deleted_at < ? AND NOT EXISTS ` +
        '(SELECT 1 FROM outbox WHERE outbox.collection = ? AND outbox.id = old.id) LIMIT ?)',
      [removedBefore, collection, limit - swept],
    );
  }
  return swept;
}
