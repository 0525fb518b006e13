/** The wiring of job-control: what it keeps, serves and does in the background. */
import { joinDirectory } from '@nephos/directory';
import { connectBus, openEntity, startRelay } from '@nephos/events';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { ExecutorServiceDefinition } from '@nephos/proto/nephos/jobs/v1/executor';
import { JobServiceDefinition } from '@nephos/proto/nephos/jobs/v1/jobs';
import { config, defineService, formatAddress } from '@nephos/service';
import { openServiceStore } from '@nephos/store';
import { jobEntity, leaseCollection, logCollection } from './adapters/collections.ts';
import { JobLog } from './adapters/job-log.ts';
import { Partitions } from './adapters/partitions.ts';
import { sweepJobs } from './adapters/retention.ts';
import { jobApi } from './api/job-api.ts';
import { operationsApi } from './api/operations-api.ts';
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
    const scheduler: Scheduler = new Scheduler({
      jobs,
      jobLog,
      clock,
      log,
      instance: ctx.instanceId,
      window: ctx.config.jobWindow,
      graceMs: ctx.config.jobGrace,
      heartbeatMs: ctx.config.jobHeartbeat,
      onFailure: (error) => ctx.fail(error),
    });
    let address = '';
    ctx.lifecycle.onServing((at) => {
      address = formatAddress(at);
    });
    const partitions = new Partitions({
      leases: await store.collection(leaseCollection),
      owner: ctx.instanceId,
      address: () => address,
      exclusive: store.exclusive,
      leaseMs: ctx.config.jobLease,
      clock,
      log,
      onTaken: (partition, epoch) => scheduler.taken(partition, epoch),
      onLost: (partition) => scheduler.lost(partition),
    });
    scheduler.leases = partitions;
    ctx.lifecycle.onDraining(() => scheduler.drain());
    // An exclusive store's partitions are taken before the first call, so that none is refused.
    if (store.exclusive) await partitions.tend();

    ctx.server.add(JobServiceDefinition, jobApi({ scheduler, jobs }));
    ctx.server.add(OperationsDefinition, operationsApi({ scheduler, jobs }));
    ctx.server.add(ExecutorServiceDefinition, { connect: (reports) => scheduler.executors.connect(reports) });

    ctx.background('partitions of jobs', (signal) => partitions.run(signal));
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
