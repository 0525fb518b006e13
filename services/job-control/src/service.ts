/** The wiring of job-control: what it keeps, serves and does in the background. */
import { joinDirectory } from '@nephos/directory';
import { connectBus, type EntityCollection, openEntity, startRelay } from '@nephos/events';
import { openLeases } from '@nephos/leases';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { ExecutorServiceDefinition } from '@nephos/proto/nephos/jobs/v1/executor';
import { type Job, JobServiceDefinition } from '@nephos/proto/nephos/jobs/v1/jobs';
import { JobPeerServiceDefinition } from '@nephos/proto/nephos/jobs/v1/peers';
import { config, defineService, formatAddress, type ServiceContext } from '@nephos/service';
import { openServiceStore } from '@nephos/store';
import { jobEntity, leaseCollection, logCollection } from './adapters/collections.ts';
import { JobLog } from './adapters/job-log.ts';
import { observeJobs } from './adapters/metrics.ts';
import { type Owner, Partitions } from './adapters/partitions.ts';
import { sweepJobs } from './adapters/retention.ts';
import { jobApi } from './api/job-api.ts';
import { operationsApi } from './api/operations-api.ts';
import { Peers, peerApi } from './api/peers.ts';
import { Router } from './api/router.ts';
import type { JobRecord } from './domain/record.ts';
import { Scheduler } from './scheduling/scheduler.ts';

export const jobControlService = defineService({
  name: 'job-control',
  version: '0.1.0',
  config: {
    jobLease: config.duration({ description: 'how long an owner of jobs may be silent', default: 10_000 }),
    jobGrace: config.duration({
      description: 'how long executors may take to come back for the jobs they run',
      default: 5000,
    }),
    jobHeartbeat: config.duration({ description: 'how often executors say that they live', default: 3000 }),
    jobWindow: config.integer({
      description: 'queued jobs of one type kept in memory',
      default: 4096,
      min: 64,
    }),
    jobRetention: config.duration({
      description: 'how long finished jobs are kept',
      default: 72 * 3600 * 1000,
    }),
    jobSweep: config.duration({ description: 'how often finished jobs are looked through', default: 60_000 }),
  },
  async start(ctx) {
    const { clock, log } = ctx;
    await joinDirectory(ctx);
    const store = await openServiceStore(ctx);
    const jobs = await openEntity(store, jobEntity, { source: ctx.name, clock });
    const logs = await store.collection(logCollection);
    startRelay(ctx, { store, bus: await connectBus(ctx) });

    const jobLog = new JobLog({ logs, clock, log, onLine: (uid) => scheduler.core.table.touch(uid) });
    const shared = !store.exclusive;
    const scheduler: Scheduler = new Scheduler({
      jobs,
      jobLog,
      clock,
      log,
      instance: ctx.instanceId,
      window: ctx.config.jobWindow,
      graceMs: ctx.config.jobGrace,
      heartbeatMs: ctx.config.jobHeartbeat,
      shared,
      stragglersMs: ctx.config.jobLease,
      onFailure: (error) => ctx.fail(error),
    });
    let address = '';
    const partitions = new Partitions({
      leases: await openLeases({
        ...{ store, clock, log, owner: ctx.instanceId, address: () => address },
        leaseMs: ctx.config.jobLease,
        collection: leaseCollection,
      }),
      onTaken: (partition, epoch, handed) => scheduler.taken(partition, epoch, handed),
      onLost: (partition) => scheduler.lost(partition),
    });
    scheduler.leases = partitions;
    // An exclusive store's partitions are taken before the first call, so that none is refused.
    if (store.exclusive) await partitions.look();
    ctx.lifecycle.onServing((at) => {
      address = formatAddress(at);
      ctx.background('partitions of jobs', (signal) => partitions.run(signal));
    });
    ctx.lifecycle.onDraining(async () => {
      if (shared) await partitions.leave();
      scheduler.drain();
    });

    serve(ctx, { scheduler, jobs, partitions });

    ctx.background('job log', (signal) => jobLog.run(signal));
    ctx.background('jobs', (signal) => scheduler.run(signal));
    ctx.background('retention of jobs', (signal) =>
      sweepJobs(
        {
          jobs,
          logs,
          clock,
          log,
          retentionMs: ctx.config.jobRetention,
          sweepMs: ctx.config.jobSweep,
          owned: () => partitions.owned,
        },
        signal,
      ),
    );
  },
});

interface Served {
  readonly scheduler: Scheduler;
  readonly jobs: EntityCollection<JobRecord, Job>;
  readonly partitions: Partitions;
}

/** What callers, executors and other instances see of it. */
function serve(ctx: ServiceContext, { scheduler, jobs, partitions }: Served): void {
  const { clients, clock, instanceId: instance } = ctx;
  const { table } = scheduler.core;
  const owns = (partition: number): boolean => table.owns(partition);
  const ownerOf = (partition: number): Owner | undefined => partitions.ownerOf(partition);
  const peers = ctx.resources.use(new Peers({ instance, clients, ownerOf }));
  const router = new Router({ instance, clients, clock, owns, ownerOf, look: () => partitions.look() });
  ctx.server.add(JobServiceDefinition, jobApi({ scheduler, jobs, router, peers }));
  ctx.server.add(OperationsDefinition, operationsApi({ scheduler, jobs, router, peers }));
  ctx.server.add(JobPeerServiceDefinition, peerApi(table));
  ctx.server.add(ExecutorServiceDefinition, { connect: (reports) => scheduler.executors.connect(reports) });
  observeJobs(ctx.telemetry, { scheduler, forwarded: () => router.forwarded });
}
