/** The figures of one instance of job control, for Prometheus; nothing is counted while nobody asks. */
import type { ServiceContext } from '@nephos/service';
import type { Scheduler } from '../scheduling/scheduler.ts';

export interface MetricsOptions {
  readonly scheduler: Scheduler;
  readonly forwarded: () => number;
}

export function observeJobs(
  { meter }: ServiceContext['telemetry'],
  { scheduler, forwarded }: MetricsOptions,
): void {
  const { core } = scheduler;
  meter
    .createObservableGauge('nephos.jobs.queued', {
      description: 'jobs in the store that wait for an executor',
    })
    .addCallback(async (result) => {
      for (const [type, depth] of await scheduler.depths())
        result.observe(depth, { 'nephos.job.type': type });
    });
  meter
    .createObservableGauge('nephos.jobs.running', { description: 'jobs held by executors' })
    .addCallback((result) => result.observe(core.running));
  meter
    .createObservableGauge('nephos.jobs.waiting', { description: 'jobs that wait for others, or for a time' })
    .addCallback(async (result) => {
      for (const [lane, depth] of await scheduler.sleepers())
        result.observe(depth, { 'nephos.job.lane': lane });
    });
  meter
    .createObservableGauge('nephos.jobs.partitions', { description: 'partitions owned by this instance' })
    .addCallback((result) => result.observe(core.partitions.length));
  meter
    .createObservableGauge('nephos.jobs.executors', { description: 'executors with a stream here' })
    .addCallback((result) => result.observe(core.sessions.all.size));
  meter
    .createObservableCounter('nephos.jobs.assigned', { description: 'jobs given to executors' })
    .addCallback((result) => result.observe(core.assigned));
  meter
    .createObservableCounter('nephos.jobs.forwarded', {
      description: 'calls brought to the instance that owns the job',
    })
    .addCallback((result) => result.observe(forwarded()));
}
