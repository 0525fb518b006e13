/**
 * The orchestrator, put together. It breaks operations on VMs and volumes into steps and pushes them to plugins;
 * it performs none itself, and knows nothing of accounts (RFC, Orchestration Framework).
 */
import { joinDirectory } from '@nephos/directory';
import { connectBus, startRelay } from '@nephos/events';
import { openIdempotency } from '@nephos/idempotency';
import { jobClient, startExecutor } from '@nephos/jobs';
import { holdLease, openLeases } from '@nephos/leases';
import { ClusterServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/cluster';
import { HostServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/host';
import { OfferingServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/offering';
import { PodServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/pod';
import { ZoneServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/zone';
import { DeploymentPlannerServiceDefinition } from '@nephos/proto/nephos/plugin/v1/planner';
import { config, defineService } from '@nephos/service';
import { openServiceStore } from '@nephos/store';
import { clustersApi } from './api/clusters.ts';
import { hostsApi } from './api/hosts.ts';
import { offeringsApi } from './api/offerings.ts';
import { plannerApi } from './api/planner.ts';
import { podsApi } from './api/pods.ts';
import { zonesApi } from './api/zones.ts';
import { openFleet } from './fleet-parts.ts';
import { openInventory } from './inventory.ts';
import { observeHosts } from './observers.ts';
import { addVms, openVmRecords } from './vms.ts';

export const orchestrator = defineService({
  name: 'orchestrator',
  version: '0.1.0',
  config: {
    hostSilentAfter: config.duration({
      description: 'a host whose agent sent nothing for so long is Silent',
      default: 12_000,
    }),
    hostDisconnectedAfter: config.duration({
      description: 'a host whose agent sent nothing for so long is Disconnected, and its VMs Unknown',
      default: 60_000,
    }),
    vmRetention: config.duration({
      description: 'a deleted VM can be recovered for so long, then it is expunged',
      default: 24 * 60 * 60_000,
    }),
    reconcileInterval: config.duration({
      description: 'every VM is compared with what is wanted of it so often, changes at once',
      default: 30_000,
    }),
    vmJobs: config.integer({
      description: 'jobs on VMs that this process runs at a time',
      default: 256,
      min: 1,
      max: 10_000,
    }),
  },
  async start(ctx) {
    const { clock, log, server } = ctx;
    const store = await openServiceStore(ctx);
    const bus = await connectBus(ctx);
    startRelay(ctx, { store, bus });
    const directory = await joinDirectory(ctx);
    const idempotency = await openIdempotency(store, { clock, log });
    const inventory = await openInventory(store, ctx.name, clock);
    const parts = await openFleet(ctx, inventory, { ...ctx.config, bus, shared: !store.exclusive });
    const { fleet, links, planner, facts, placement, capacity } = parts;
    const records = await openVmRecords(store, ctx.name, clock);
    const jobs = jobClient(ctx);

    const standard = { idempotency, clock };
    server.add(ZoneServiceDefinition, zonesApi(inventory, standard));
    server.add(PodServiceDefinition, podsApi(inventory, standard));
    server.add(ClusterServiceDefinition, clustersApi(inventory, fleet, standard));
    server.add(HostServiceDefinition, hostsApi({ inventory, fleet, links, ...standard }));
    server.add(OfferingServiceDefinition, offeringsApi(inventory, standard));
    server.add(DeploymentPlannerServiceDefinition, plannerApi(planner, ctx.version));

    const { definitions, deps, reconciler } = addVms(ctx, {
      records,
      inventory,
      idempotency,
      jobs,
      placement,
      capacity,
      links,
      unmanaged: facts,
      retentionMs: ctx.config.vmRetention,
      reconcileMs: ctx.config.reconcileInterval,
    });
    startExecutor(ctx, { jobs: definitions, deps, jobControl: directory, concurrency: ctx.config.vmJobs });

    const leases = await openLeases({ store, clock, log, owner: ctx.instanceId });
    const observing = { ...parts, inventory, idempotency, reconciler, clock };
    holdLease(ctx, { leases, name: 'observer' }, (held) => observeHosts(observing, held));
  },
});
