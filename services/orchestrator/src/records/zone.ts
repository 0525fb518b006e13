/** Zones as stored. Owner: the orchestrator's zone API, the only writer. */
import { defineEntity } from '@nephos/events';
import { Zone } from '@nephos/proto/nephos/orchestration/v1/zone';
import { type HeaderRecord, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';
import { headerIndexes } from './indexes.ts';

export interface ZoneRecord {
  readonly header: HeaderRecord;
  readonly description: string;
}

export const zoneEntity = defineEntity({
  entity: 'zone',
  collection: 'zones',
  message: Zone,
  store: defineCollection<ZoneRecord>({
    name: 'zones',
    schemaVersion: 1,
    indexes: {
      ...headerIndexes,
      display_name: { fields: ['header.owner', 'header.displayName'], unique: true },
    },
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('zones', value.header, eventSeq),
    description: value.description,
  }),
  place: ({ header }) => header,
});
