/**
 * The VM half of the orchestrator, put together: records, jobs, services, observations, reconciler. service.ts lists
 * it as one part. The reconciler is for one instance at a time; observers.ts runs it.
 */
import { openEntity } from '@nephos/events';
import type { Idempotency } from '@nephos/idempotency';
import type { JobClient } from '@nephos/jobs';
import { VmServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/vm';
import { VolumeServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/volume';
import { TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import type { Clock, ServiceContext } from '@nephos/service';
import type { Collection, Store } from '@nephos/store';
import { OperationLeases } from './adapters/operation-leases.ts';
import { VmOperations } from './adapters/vm-operations.ts';
import { vmsApi } from './api/vms.ts';
import { volumesApi } from './api/volumes.ts';
import type { Incarnation } from './domain/vm/vm.ts';
import type { Inventory } from './inventory.ts';
import { vmJobs } from './jobs/index.ts';
import type { VmJobDeps } from './jobs/operation.ts';
import type { AgentLinks, Capacity, Placement, UnmanagedMachines } from './ports.ts';
import { Incarnations } from './reconcile/incarnations.ts';
import { LeaseSweeper } from './reconcile/lease-sweeper.ts';
import { Leftovers } from './reconcile/leftovers.ts';
import { Observations } from './reconcile/observations.ts';
import { Projector } from './reconcile/projector.ts';
import { Reconciler } from './reconcile/reconciler.ts';
import { incarnationCollection } from './records/incarnation.ts';
import { type OperationLease, operationCollection } from './records/operation.ts';
import { type VmEntities, vmEntity } from './records/vm.ts';
import { type VolumeEntities, volumeEntity } from './records/volume.ts';

/** The records of VMs. */
export interface VmRecords {
  readonly vms: VmEntities;
  readonly volumes: VolumeEntities;
  readonly incarnations: Collection<Incarnation>;
  readonly operations: Collection<OperationLease>;
}

export async function openVmRecords(store: Store, source: string, clock: Clock): Promise<VmRecords> {
  return {
    vms: await openEntity(store, vmEntity, { source, clock }),
    volumes: await openEntity(store, volumeEntity, { source, clock }),
    incarnations: await store.collection(incarnationCollection),
    operations: await store.collection(operationCollection),
  };
}

/** What the rest of the orchestrator gives. */
export interface VmSurroundings {
  readonly records: VmRecords;
  readonly inventory: Inventory;
  readonly idempotency: Idempotency;
  readonly jobs: JobClient;
  readonly placement: Placement;
  readonly capacity: Capacity;
  readonly links: AgentLinks;
  readonly unmanaged: UnmanagedMachines;
  /** How long a deleted VM can be recovered, milliseconds. */
  readonly retentionMs: number;
  /** Between two passes of the reconciler, milliseconds. */
  readonly reconcileMs: number;
}

export interface VmPart {
  /** What the executor runs, and what it hands to each. */
  readonly definitions: (typeof vmJobs)[keyof typeof vmJobs][];
  readonly deps: VmJobDeps;
  readonly reconciler: Reconciler;
  readonly sweeper: LeaseSweeper;
  readonly leftovers: Leftovers;
}

type Context = Pick<ServiceContext, 'clients' | 'clock' | 'log' | 'server' | 'resources'>;

/** Adds the services and listens to what the links tell. */
export function addVms(ctx: Context, around: VmSurroundings): VmPart {
  const { clock, log } = ctx;
  const { jobs, links, records, retentionMs } = around;
  const { vms, volumes } = records;
  const leases = new OperationLeases(records.operations, clock);
  const incarnations = new Incarnations(records.incarnations, clock);
  const projector = new Projector({ vms, incarnations, leases, links, clock });
  const operations = new VmOperations(jobs, vmJobs, leases, projector);
  const common = { ...around, vms, volumes, leases, incarnations, projector, operations, clock, log };
  const templates = ctx.clients.of(TemplateServiceDefinition, 'template');
  ctx.server.add(VmServiceDefinition, vmsApi({ ...common, templates }));
  ctx.server.add(VolumeServiceDefinition, volumesApi(volumes, common));
  const sweeper = new LeaseSweeper(common);
  const leftovers = new Leftovers(common);
  const reconciler = new Reconciler({ ...common, sweeper, leftovers, intervalMs: around.reconcileMs });
  ctx.resources.use(new Observations({ ...common, nudge: (vmUid) => reconciler.nudge(vmUid) }));
  const { placement, capacity } = around;
  return {
    definitions: Object.values(vmJobs),
    deps: { vms, volumes, incarnations, leases, projector, placement, capacity, links, clock, retentionMs },
    reconciler,
    sweeper,
    leftovers,
  };
}
