/** References to other resources in a request: required, well-formed, and there. */
import type { EntityCollection } from '@nephos/events';
import { type HeaderRecord, NotFound, parseResourceName, refuseFields } from '@nephos/service';
import type { Stored } from '@nephos/store';

/** What `name` refers to. Throws `Invalid` naming the field, `NotFound` RESOURCE_NOT_FOUND. */
export async function referred<T, M>(
  entity: EntityCollection<T, M>,
  name: string,
  field: string,
): Promise<Stored<T>> {
  const { collection } = entity.definition;
  const stored = await entity.get(parseResourceName(collection, name, field));
  if (stored !== undefined) return stored;
  throw new NotFound('RESOURCE_NOT_FOUND', `${field}: there is no ${name}`, {
    metadata: { resource: name },
    fields: [{ field, description: `there is no ${name}` }],
  });
}

/** The zone of what a resource lies in; one that the request names must be the same. */
export function zoneWithin(header: HeaderRecord, within: HeaderRecord, field: string): HeaderRecord {
  if (header.zone !== '' && header.zone !== within.zone) {
    refuseFields([{ field, description: `must be ${within.zone}, or empty` }]);
  }
  return { ...header, zone: within.zone };
}
