/** Pods as stored. Owner: the orchestrator's pod API, the only writer. */
import { defineEntity } from '@nephos/events';
import { Pod } from '@nephos/proto/nephos/orchestration/v1/pod';
import { type HeaderRecord, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';
import { headerIndexes } from './indexes.ts';

export interface PodRecord {
  readonly header: HeaderRecord;
}

export const podEntity = defineEntity({
  entity: 'pod',
  collection: 'pods',
  message: Pod,
  store: defineCollection<PodRecord>({ name: 'pods', schemaVersion: 1, indexes: headerIndexes }),
  toMessage: ({ value, eventSeq }) => ({ header: headerMessage('pods', value.header, eventSeq) }),
  place: ({ header }) => header,
});
