// What a collection may be called and may index, checked once, when it is declared.
// Owner: libs/store. Invariant: a name that passed here may stand, quoted, in an adapter's own statements.
import { Invalid } from '@nephos/service';
import type { CollectionDefinition, IndexDefinition } from './collection.ts';

const collectionName = /^[a-z][a-z0-9_]{0,47}$/;
const indexName = /^[A-Za-z][A-Za-z0-9_]{0,47}$/;
const fieldPath = /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,7}$/;
const reservedIndexName = 'id';

/** Declares a collection. Throws `Invalid` on a malformed name, path or version, or on two equal indexes. */
export function defineCollection<T>(definition: CollectionDefinition<T>): CollectionDefinition<T> {
  const { name, schemaVersion, indexes } = definition;
  if (!collectionName.test(name)) throw refuse(name, `the name has to match ${collectionName.source}`);
  if (!Number.isSafeInteger(schemaVersion) || schemaVersion < 1) {
    throw refuse(name, `schemaVersion has to be a whole number from 1 on, not ${schemaVersion}`);
  }
  const seen = new Map<string, string>();
  for (const [index, { fields }] of Object.entries(indexes)) {
    checkIndex(name, index, fields);
    const twin = seen.get(fields.join());
    if (twin !== undefined) throw refuse(name, `the indexes ${twin} and ${index} are the same`);
    seen.set(fields.join(), index);
  }
  return Object.freeze({ ...definition });
}

function checkIndex(collection: string, index: string, fields: IndexDefinition['fields']): void {
  if (!indexName.test(index) || index === reservedIndexName) {
    throw refuse(collection, `an index cannot be called ${JSON.stringify(index)}`);
  }
  if (fields.length === 0) throw refuse(collection, `the index ${index} has no fields`);
  if (new Set(fields).size !== fields.length) throw refuse(collection, `the index ${index} repeats a field`);
  for (const field of fields) checkFieldPath(collection, field);
}

/** Throws `Invalid` unless `path` is a dotted path of plain names (and not `id`, which is the document's own). */
export function checkFieldPath(collection: string, path: string): void {
  if (!fieldPath.test(path) || path === reservedIndexName) {
    throw refuse(collection, `${JSON.stringify(path)} is no field path`);
  }
}

function refuse(collection: string, why: string): Invalid {
  return new Invalid('FIELD_INVALID', `collection ${JSON.stringify(collection)}: ${why}`);
}
