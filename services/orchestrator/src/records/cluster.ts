/** Clusters as stored. Owner: the orchestrator's cluster API, the only writer. */
import { defineEntity } from '@nephos/events';
import { Cluster } from '@nephos/proto/nephos/orchestration/v1/cluster';
import { type HeaderRecord, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';
import { headerIndexes } from './indexes.ts';

export interface ClusterRecord {
  readonly header: HeaderRecord;
  /** `pods/{uid}`. */
  readonly pod: string;
  readonly cpuOvercommitRatio: number;
  readonly memoryOvercommitRatio: number;
}

export const clusterEntity = defineEntity({
  entity: 'cluster',
  collection: 'clusters',
  message: Cluster,
  store: defineCollection<ClusterRecord>({
    name: 'clusters',
    schemaVersion: 1,
    indexes: { ...headerIndexes, pod: { fields: ['pod'] } },
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('clusters', value.header, eventSeq),
    pod: value.pod,
    cpuOvercommitRatio: value.cpuOvercommitRatio,
    memoryOvercommitRatio: value.memoryOvercommitRatio,
  }),
  place: ({ header }) => header,
});
