/** google.longrunning.Operations over jobs: the job is the operation (AIP-151). */
import { isOver, operationOf, operationUid } from '@nephos/jobs';
import type { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import type { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Implementation, Unimplemented } from '@nephos/service';
import { followJob, showJob } from './follow-job.ts';
import { type JobApiOptions, listJobs, steer } from './job-api.ts';

/** A wait without a limit of its own ends before its caller's deadline would. */
const longestWaitMs = 25_000;
/** Kept of the caller's time for the answer. */
const answerMs = 2_000;

export function operationsApi(options: JobApiOptions): Implementation<OperationsDefinition> {
  const { scheduler, router } = options;
  const { table, clock } = scheduler.core;
  return {
    async listOperations({ filter, pageSize, pageToken }, call) {
      const page = await listJobs({ filter, pageSize, pageToken }, call, options);
      return {
        operations: page.jobs.map((job) => operationOf(job)),
        nextPageToken: page.nextPageToken,
        unreachable: [],
      };
    },
    getOperation: async ({ name }, call) =>
      operationOf(await showJob(operationUid(name), call, table, router)),
    async cancelOperation({ name }, call) {
      const uid = operationUid(name);
      await steer(uid, call, options, {
        here: () => scheduler.commands.cancel(uid),
        there: (peer, onward) => peer.cancelJob({ name: `jobs/${uid}` }, onward),
      });
      return {};
    },
    async waitOperation({ name, timeout }, call) {
      const uid = operationUid(name);
      const asked =
        timeout === undefined ? longestWaitMs : Number(timeout.seconds) * 1000 + timeout.nanos / 1e6;
      const limit = new AbortController();
      // One that is not over is told before the caller stops waiting, who else would take it for a failure.
      const left = call.deadline ? call.deadline.getTime() - clock.now().getTime() - answerMs : Infinity;
      const waitMs = Math.max(0, Math.min(asked, longestWaitMs, left));
      using _timer = clock.timer(waitMs, () => limit.abort());
      const signal = AbortSignal.any([call.signal, limit.signal]);
      let last: Job | undefined;
      for await (const job of followJob(uid, call, signal, table, router)) {
        last = job;
        if (isOver(job.state)) break;
      }
      return operationOf(last ?? (await showJob(uid, call, table, router)));
    },
    deleteOperation: () => {
      const message =
        'operations are jobs: they go by themselves some time after their end; to stop one, cancel it';
      return Promise.reject(new Unimplemented('METHOD_UNKNOWN', message));
    },
  };
}
