/** Get and List (AIP-131, 132) of any entity's collection. */
import type { EntityCollection } from '@nephos/events';
import { notFound, parseResourceName } from '@nephos/service';
import { type ListFields, type ListRequest, listPage, type Stored } from '@nephos/store';

type Readable<T, M> = Pick<EntityCollection<T, M>, 'definition' | 'get' | 'find' | 'message'>;

/** The record by its resource name, which the request has in `field`. Throws `NotFound`, `Invalid`. */
export async function findResource<T>(
  entity: Pick<Readable<T, unknown>, 'get'> & { readonly definition: { readonly collection: string } },
  name: string,
  field = 'name',
): Promise<Stored<T>> {
  const { collection } = entity.definition;
  const uid = parseResourceName(collection, name, field);
  const stored = await entity.get(uid);
  if (stored === undefined) throw notFound(collection, uid);
  return stored;
}

/** The resource by its name. Throws `NotFound`, `Invalid`. */
export async function getResource<T, M>(
  entity: Readable<T, M>,
  { name }: { readonly name: string },
): Promise<M> {
  return entity.message(await findResource(entity, name));
}

/** A page of resources; `fields` are those that the filter may name. Throws as `listPage` does. */
export async function listResources<T, M>(
  entity: Readable<T, M>,
  request: ListRequest,
  fields: ListFields,
): Promise<{ messages: M[]; nextPageToken: string }> {
  const { indexes } = entity.definition.store;
  const { items, nextPageToken } = await listPage(entity, request, { indexes, fields });
  return { messages: items.map((stored) => entity.message(stored)), nextPageToken };
}
