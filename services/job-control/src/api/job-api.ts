/** JobService: checks requests, asks the scheduler, shows jobs. */
import type { EntityCollection } from '@nephos/events';
import {
  type Job,
  type JobServiceDefinition,
  type ListJobsRequest,
  type ListJobsResponse,
  NewJob,
} from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Call, currentTraceparent, type Implementation, parseResourceName } from '@nephos/service';
import { enumField, type ListFields, listPage } from '@nephos/store';
import { jobIndexes } from '../adapters/collections.ts';
import type { JobRecord } from '../domain/record.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import { logApi } from './log-api.ts';
import { submitStream } from './submit-stream.ts';
import { watchJob } from './watch-job.ts';

const states = ['queued', 'running', 'suspended', 'unwinding', 'blocked', 'succeeded', 'failed', 'cancelled'];

/** What narrows most comes first: of several conditions the first with an index is used. */
const fields: ListFields = {
  target: { path: 'target', type: 'string' },
  root: { path: 'tree', type: 'string' },
  parent: { path: 'parent', type: 'string' },
  trouble: enumField('trouble', ['blocked', 'failed', 'cancelled']),
  state: enumField('state', states),
  type: { path: 'type', type: 'string' },
  owner: { path: 'header.owner', type: 'string' },
  zone: { path: 'header.zone', type: 'string' },
  principal: { path: 'principal', type: 'string' },
  labels: { path: 'header.labels', type: 'map' },
  create_time: { path: 'header.createTime', type: 'timestamp' },
};

export interface JobApiOptions {
  readonly scheduler: Scheduler;
  readonly jobs: EntityCollection<JobRecord, Job>;
}

export function jobApi({ scheduler, jobs }: JobApiOptions): Implementation<JobServiceDefinition> {
  const { table } = scheduler.core;
  const uidOf = (name: string): string => parseResourceName('jobs', name);

  return {
    async createJob({ job }, call) {
      call.detach();
      const { stored } = await scheduler.submissions.submit(originated(job ?? NewJob.create(), call));
      return table.show(stored);
    },
    submit: (requests, call) =>
      submitStream(requests, (job) => scheduler.submissions.submit(originated(job, call)), table),
    getJob: async ({ name }) => await table.view(uidOf(name)),
    listJobs: async (request) => await listJobs(request, scheduler, jobs),
    async cancelJob({ name }, call) {
      const uid = uidOf(name);
      await scheduler.core.table.view(uid);
      call.detach();
      await scheduler.commands.cancel(uid);
      return await table.view(uid);
    },
    async resumeJob({ name }, call) {
      const uid = uidOf(name);
      call.detach();
      await scheduler.commands.resume(uid);
      return await table.view(uid);
    },
    async unwindJob({ name, skipSteps }, call) {
      const uid = uidOf(name);
      call.detach();
      await scheduler.commands.unwind(uid, skipSteps);
      return await table.view(uid);
    },
    watchJob: ({ name }, call) => watchJob(table, uidOf(name), call.signal),
    ...logApi(scheduler.core),
  };
}

/** A page of jobs; what is known only in memory, such as which are running, counts in the filter too. */
export async function listJobs(
  request: ListJobsRequest,
  scheduler: Scheduler,
  jobs: EntityCollection<JobRecord, Job>,
): Promise<ListJobsResponse> {
  const { table } = scheduler.core;
  const projected: Pick<typeof jobs, 'find'> = {
    async find(query) {
      const page = await jobs.find(query);
      return {
        ...page,
        items: page.items.map((stored) => ({ ...stored, value: shown(stored.id, stored.value) })),
      };
    },
  };
  const shown = (uid: string, value: JobRecord): JobRecord => {
    const live = table.live.get(uid);
    const record = live?.stored.value ?? value;
    const parent = record.parent === undefined ? {} : { parent: `jobs/${record.parent}` };
    const running = live?.holder !== undefined && record.state === 'queued';
    // `running` is a state that only this projection knows.
    return { ...record, ...parent, ...(running && { state: 'running' as JobRecord['state'] }) };
  };
  const page = await listPage(projected, request, { indexes: jobIndexes, fields });
  const views = await Promise.all(page.items.map(({ id }) => table.view(id).catch(() => undefined)));
  return { jobs: views.filter((job) => job !== undefined), nextPageToken: page.nextPageToken };
}

/** What the submission leaves open is taken from the call. */
function originated(job: NewJob, call: Call): NewJob {
  return {
    ...job,
    principal: job.principal || call.principal,
    onBehalfOf: job.onBehalfOf || (call.onBehalfOf ?? ''),
    requestId: job.requestId || call.requestId,
    traceparent: job.traceparent || (currentTraceparent() ?? ''),
  };
}
