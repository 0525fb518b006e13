/** The orchestrator's records of what there is: opened once, handed to APIs and adapters. */
import { type EntityCollection, openEntity } from '@nephos/events';
import type { Cluster } from '@nephos/proto/nephos/orchestration/v1/cluster';
import type { Host } from '@nephos/proto/nephos/orchestration/v1/host';
import type { ComputeOffering, DiskOffering } from '@nephos/proto/nephos/orchestration/v1/offering';
import type { Pod } from '@nephos/proto/nephos/orchestration/v1/pod';
import type { Zone } from '@nephos/proto/nephos/orchestration/v1/zone';
import type { Clock } from '@nephos/service';
import type { Collection, Store } from '@nephos/store';
import type { Ledger } from './domain/capacity/ledger.ts';
import { type ClaimPointer, claimPointers, ledgers } from './records/capacity.ts';
import { type ClusterRecord, clusterEntity } from './records/cluster.ts';
import { type HostRecord, hostEntity } from './records/host.ts';
import {
  type ComputeOfferingRecord,
  computeOfferingEntity,
  type DiskOfferingRecord,
  diskOfferingEntity,
} from './records/offering.ts';
import { type PodRecord, podEntity } from './records/pod.ts';
import { type ZoneRecord, zoneEntity } from './records/zone.ts';

export interface Inventory {
  readonly zones: EntityCollection<ZoneRecord, Zone>;
  readonly pods: EntityCollection<PodRecord, Pod>;
  readonly clusters: EntityCollection<ClusterRecord, Cluster>;
  readonly hosts: EntityCollection<HostRecord, Host>;
  readonly computeOfferings: EntityCollection<ComputeOfferingRecord, ComputeOffering>;
  readonly diskOfferings: EntityCollection<DiskOfferingRecord, DiskOffering>;
  readonly ledgers: Collection<Ledger>;
  readonly claimPointers: Collection<ClaimPointer>;
}

export async function openInventory(store: Store, source: string, clock: Clock): Promise<Inventory> {
  const options = { source, clock };
  return {
    zones: await openEntity(store, zoneEntity, options),
    pods: await openEntity(store, podEntity, options),
    clusters: await openEntity(store, clusterEntity, options),
    hosts: await openEntity(store, hostEntity, options),
    computeOfferings: await openEntity(store, computeOfferingEntity, options),
    diskOfferings: await openEntity(store, diskOfferingEntity, options),
    ledgers: await store.collection(ledgers),
    claimPointers: await store.collection(claimPointers),
  };
}
