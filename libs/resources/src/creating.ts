/**
 * Create (AIP-133), carried out once a request. The record is made when the request is accepted and kept with it, but
 * for what must not be kept there: that is added as it is inserted. What is there already under its uid is success,
 * what was there and is gone stays gone.
 */
import type { EntityCollection } from '@nephos/events';
import { goneSince, type Idempotency, type IdempotentMethod } from '@nephos/idempotency';
import { AlreadyExists } from '@nephos/service';
import type { Json, Stored } from '@nephos/store';
import type { HasHeader } from './header.ts';
import { findResource } from './reading.ts';

type Insertable<T> = Pick<EntityCollection<T, unknown>, 'get' | 'insert'> & {
  readonly definition: { readonly collection: string };
};

/** The record, inserted now or before. Throws `AlreadyExists` DISPLAY_NAME_TAKEN, `NotFound` once it was removed. */
export async function insertOnce<T extends HasHeader>(
  entity: Insertable<T>,
  uid: string,
  record: T,
): Promise<Stored<T>> {
  try {
    return await entity.insert(uid, record, { fresh: true });
  } catch (error) {
    const there = await entity.get(uid);
    if (there !== undefined) return there;
    const removedSince = error instanceof AlreadyExists && error.details.metadata?.['index'] === 'id';
    throw removedSince
      ? goneSince(entity.definition.collection, uid)
      : nameTaken(error, record.header.displayName);
  }
}

/** What the store's refusal is told as, where the unique index `display_name` is what refuses. */
export function nameTaken(error: unknown, displayName: string): unknown {
  if (!(error instanceof AlreadyExists) || error.details.metadata?.['index'] !== 'display_name') return error;
  const description = `the display name ${JSON.stringify(displayName)} is taken in this zone: choose another`;
  return new AlreadyExists('DISPLAY_NAME_TAKEN', description, { metadata: { display_name: displayName } });
}

export interface Creation<T, R> {
  /** `/package.Service/Method`. */
  readonly name: string;
  readonly entity: Insertable<T>;
  /**
   * The record with what the request's record must not hold, such as a secret. `request`: as it was sent; undefined
   * where nobody asks now (a sweep after a crash). Throws a refusal where it cannot do without: the request is then as
   * one that never came, and its repeat is accepted anew.
   */
  readonly complete?: ((record: T, request: Uint8Array | undefined) => T) | undefined;
  /** Runs after the insert and again in any repeat that finds the request open; its outcome is what is answered. */
  readonly inserted?: (stored: Stored<T>) => Promise<Stored<T>>;
  answer(stored: Stored<T>): R | Promise<R>;
}

/** Declares a method that makes a record: what `prepare` mints as the body is the record. */
export function creating<T extends HasHeader, R>(
  idempotency: Idempotency,
  {
    name,
    entity,
    complete = (record) => record,
    inserted = (stored) => Promise.resolve(stored),
    answer,
  }: Creation<T, R>,
): IdempotentMethod<Json, R> {
  return idempotency.method<Json, R>({
    name,
    carryOut: async ({ entityUid, body }, { again, request }) => {
      const there = again ? await entity.get(entityUid) : undefined;
      const stored = there ?? (await insertOnce(entity, entityUid, complete(body as unknown as T, request)));
      return await answer(await inserted(stored));
    },
    answer: async ({ entityUid }) =>
      await answer(await findResource(entity, `${entity.definition.collection}/${entityUid}`)),
  });
}
