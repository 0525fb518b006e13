/** google.longrunning.Operations over jobs: the job is the operation (AIP-151). */
import type { EntityCollection } from '@nephos/events';
import { isOver, operationOf, operationUid } from '@nephos/jobs';
import type { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Implementation, Unimplemented } from '@nephos/service';
import type { JobRecord } from '../domain/record.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import { listJobs } from './job-api.ts';
import { watchJob } from './watch-job.ts';

export interface OperationsApiOptions {
  readonly scheduler: Scheduler;
  readonly jobs: EntityCollection<JobRecord, Job>;
}

/** A wait without a limit of its own ends before its caller's deadline would. */
const longestWaitMs = 25_000;

export function operationsApi({
  scheduler,
  jobs,
}: OperationsApiOptions): Implementation<OperationsDefinition> {
  const { table, clock } = scheduler.core;
  return {
    async listOperations({ filter, pageSize, pageToken }) {
      const page = await listJobs({ filter, pageSize, pageToken }, scheduler, jobs);
      return {
        operations: page.jobs.map((job) => operationOf(job)),
        nextPageToken: page.nextPageToken,
        unreachable: [],
      };
    },
    getOperation: async ({ name }) => operationOf(await table.view(operationUid(name))),
    async cancelOperation({ name }, call) {
      const uid = operationUid(name);
      await table.view(uid);
      call.detach();
      await scheduler.commands.cancel(uid);
      return {};
    },
    async waitOperation({ name, timeout }, call) {
      const uid = operationUid(name);
      const asked =
        timeout === undefined ? longestWaitMs : Number(timeout.seconds) * 1000 + timeout.nanos / 1e6;
      const limit = new AbortController();
      using _timer = clock.timer(Math.min(asked, longestWaitMs), () => limit.abort());
      for await (const job of watchJob(table, uid, AbortSignal.any([call.signal, limit.signal]))) {
        if (isOver(job.state)) return operationOf(job);
      }
      return operationOf(await table.view(uid));
    },
    deleteOperation: () => {
      const message =
        'operations are jobs: they go by themselves some time after their end; to stop one, cancel it';
      return Promise.reject(new Unimplemented('METHOD_UNKNOWN', message));
    },
  };
}
