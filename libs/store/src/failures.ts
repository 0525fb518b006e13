// The errors of the contract, worded once for every adapter.
// Owner: libs/store.
import { AlreadyExists, Conflict, NotFound } from '@nephos/service';

export function notFound(collection: string, id: string): NotFound {
  return new NotFound('RESOURCE_NOT_FOUND', `${collection}/${id} is not there`, {
    metadata: { collection, id },
  });
}

/** `index` is the unique index that refused it, or `id`. */
export function alreadyExists(collection: string, id: string, index: string): AlreadyExists {
  const message =
    index === 'id'
      ? `${collection}/${id} exists already`
      : `${collection}/${id}: another document has the same ${index}`;
  return new AlreadyExists('RESOURCE_EXISTS', message, { metadata: { collection, id, index } });
}

/** An insert that must not bring back what was removed. */
export function wasRemoved(collection: string, id: string): AlreadyExists {
  return new AlreadyExists('RESOURCE_EXISTS', `${collection}/${id} was there and was removed`, {
    metadata: { collection, id, index: 'id' },
  });
}

export function conflict(collection: string, id: string): Conflict {
  return new Conflict('REVISION_MISMATCH', `${collection}/${id} was changed by another write`, {
    metadata: { collection, id },
  });
}
