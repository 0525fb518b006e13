/** The entity whose events are watched: a zone, of which only the description changes. */

import { defineEntity, type EntityCollection } from '@nephos/events';
import { Zone } from '@nephos/proto/nephos/orchestration/v1/zone';
import type { Stored } from '@nephos/store';

export interface ZoneRecord {
  readonly description: string;
}

export const zoneEntity = defineEntity<ZoneRecord, Zone>({
  entity: 'zone',
  collection: 'zones',
  message: Zone,
  store: { name: 'zones', schemaVersion: 1, indexes: {} },
  toMessage: ({ id, value, eventSeq }: Stored<ZoneRecord>) =>
    Zone.create({
      header: { name: `zones/${id}`, uid: id, owner: 'acme', etag: String(eventSeq) },
      description: value.description,
    }),
  place: () => ({ owner: 'acme', zone: '' }),
});

export type Zones = EntityCollection<ZoneRecord, Zone>;

/** How the streams are made: ids are forgotten fast, so that a run need not last for minutes. */
export const streamOptions = { dedupMs: 1_000 };
