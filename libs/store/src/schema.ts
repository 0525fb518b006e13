// Which stored schema versions a reader accepts: its own, the one before, the one after.
// Owner: libs/store. Invariant: a newer document keeps its version and whatever its reader does not know; two
// neighbouring versions of a service can therefore run side by side, and either can be rolled back.
import { Internal } from '@nephos/service';
import type { CollectionDefinition, Stored } from './collection.ts';
import type { Row } from './driver.ts';
import { isNear } from './schema-range.ts';

/** The document as its reader wants it. Throws `Internal` when it is more than one version away. */
export function readRow<T>(definition: CollectionDefinition<T>, row: Row): Stored<T> {
  const { schemaVersion: own, upgrade, name } = definition;
  if (!isNear(row.schema, own)) throw schemaTooFar(name, row.id, row.schema, own);
  const value = row.schema < own && upgrade !== undefined ? upgrade(row.value, row.schema) : (row.value as T);
  return { id: row.id, revision: row.revision, eventSeq: row.eventSeq, value };
}

/** What reading or writing such a document throws. */
export function schemaTooFar(collection: string, id: string, stored: number, own: number): Internal {
  return new Internal(
    'INTERNAL',
    `${collection}/${id} is stored in schema version ${stored}; this program (${own}) takes ${own - 1} to ${own + 1}: ` +
      'upgrade one version at a time',
  );
}
