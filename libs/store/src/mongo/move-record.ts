// The record of a copy into this database: what it is a copy of, and whether it is whole.
// Owner: libs/store. Invariant: while a copy is not whole no store opens on it.
import { Precondition } from '@nephos/service';
import type { Collection, Db } from 'mongodb';
import { layoutCollection } from './indexes.ts';

export interface MoveRecord {
  readonly _id: 'move';
  /** Over all documents of the source. */
  readonly digest: string;
  readonly state: 'copying' | 'done';
  readonly documents: number;
}

export function moveRecords(db: Db): Collection<MoveRecord> {
  return db.collection<MoveRecord>(layoutCollection);
}

export async function refuseUnfinishedMove(db: Db): Promise<void> {
  const record = await moveRecords(db).findOne({ _id: 'move' });
  if (record?.state !== 'copying') return;
  throw new Precondition(
    'STATE_FORBIDS',
    `database ${db.databaseName} holds an unfinished copy of another store: run the same nephos store move again`,
  );
}
