/** Offerings as stored. Owner: the orchestrator's offering API, the only writer. Sizes never change. */
import { defineEntity } from '@nephos/events';
import { ComputeOffering, DiskOffering } from '@nephos/proto/nephos/orchestration/v1/offering';
import { type HeaderRecord, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';
import { headerIndexes } from './indexes.ts';

export interface ComputeOfferingRecord {
  readonly header: HeaderRecord;
  readonly vcpus: number;
  readonly memoryBytes: number;
}

export interface DiskOfferingRecord {
  readonly header: HeaderRecord;
  readonly sizeBytes: number;
}

export const computeOfferingEntity = defineEntity({
  entity: 'compute_offering',
  collection: 'computeOfferings',
  message: ComputeOffering,
  store: defineCollection<ComputeOfferingRecord>({
    name: 'compute_offerings',
    schemaVersion: 1,
    indexes: headerIndexes,
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('computeOfferings', value.header, eventSeq),
    vcpus: value.vcpus,
    memoryBytes: BigInt(value.memoryBytes),
  }),
  place: ({ header }) => header,
});

export const diskOfferingEntity = defineEntity({
  entity: 'disk_offering',
  collection: 'diskOfferings',
  message: DiskOffering,
  store: defineCollection<DiskOfferingRecord>({
    name: 'disk_offerings',
    schemaVersion: 1,
    indexes: headerIndexes,
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('diskOfferings', value.header, eventSeq),
    sizeBytes: BigInt(value.sizeBytes),
  }),
  place: ({ header }) => header,
});
