/** JobService: checks requests, asks the scheduler, shows jobs. */
import type { EntityCollection } from '@nephos/events';
import {
  type Job,
  type JobServiceDefinition,
  JobState,
  type ListJobsRequest,
  type ListJobsResponse,
  NewJob,
} from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Call, currentTraceparent, type Implementation, parseResourceName } from '@nephos/service';
import { enumField, type ListFields, listPage, type Stored } from '@nephos/store';
import { jobIndexes } from '../adapters/collections.ts';
import { partitionOf } from '../domain/lane.ts';
import type { JobRecord } from '../domain/record.ts';
import { checkSteps } from '../scheduling/commands.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import { followJob, showJob } from './follow-job.ts';
import { logApi } from './log-api.ts';
import type { Peers } from './peers.ts';
import { isForwarded, type Router, type Ways } from './router.ts';
import { submitOne, submitStream } from './submit-stream.ts';

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
  readonly router: Router;
  readonly peers: Peers;
}

export function jobApi(options: JobApiOptions): Implementation<JobServiceDefinition> {
  const { scheduler, router, peers } = options;
  const { table } = scheduler.core;
  const uidOf = (name: string): string => parseResourceName('jobs', name);

  return {
    async createJob({ job }, call) {
      const made = originated(job ?? NewJob.create(), call);
      return await router.call(partitionOf(made.uid), call, {
        async here() {
          call.detach();
          return table.show((await scheduler.submissions.submit(made)).stored);
        },
        there: (peer, onward) => peer.createJob({ job: made }, onward),
      });
    },
    submit: (requests, call) =>
      submitStream(requests, (job) =>
        submitOne(originated(job, call), call, scheduler, router, peers.submissions),
      ),
    getJob: async ({ name }, call) => await showJob(uidOf(name), call, table, router),
    listJobs: async (request, call) => await listJobs(request, call, options),
    async cancelJob({ name }, call) {
      const uid = uidOf(name);
      return await steer(uid, call, options, {
        here: () => scheduler.commands.cancel(uid),
        there: (peer, onward) => peer.cancelJob({ name }, onward),
      });
    },
    async resumeJob({ name }, call) {
      const uid = uidOf(name);
      return await steer(uid, call, options, {
        here: () => scheduler.commands.resume(uid),
        there: (peer, onward) => peer.resumeJob({ name }, onward),
      });
    },
    async unwindJob({ name, skipSteps }, call) {
      const uid = uidOf(name);
      checkSteps(skipSteps);
      return await steer(uid, call, options, {
        here: () => scheduler.commands.unwind(uid, skipSteps),
        there: (peer, onward) => peer.unwindJob({ name, skipSteps }, onward),
      });
    },
    watchJob: ({ name }, call) => followJob(uidOf(name), call, call.signal, table, router),
    ...logApi(scheduler.core, router),
  };
}

/** A command, carried out by the owner. */
export async function steer(
  uid: string,
  call: Call,
  { scheduler, router }: Pick<JobApiOptions, 'scheduler' | 'router'>,
  { here, there }: { readonly here: () => Promise<void>; readonly there: Ways<Promise<Job>>['there'] },
): Promise<Job> {
  const { table } = scheduler.core;
  const { partition } = await table.place(uid);
  return await router.call(partition, call, {
    async here() {
      call.detach();
      await here();
      return await table.view(uid);
    },
    there,
  });
}

/** A page of jobs; what is known only in an owner's memory, such as which are running, counts in the filter too. */
export async function listJobs(
  request: ListJobsRequest,
  call: Call,
  { scheduler, jobs, peers }: JobApiOptions,
): Promise<ListJobsResponse> {
  const { table } = scheduler.core;
  /** As those that own them show them. */
  const shown = new Map<string, Job>();
  const projected: Pick<typeof jobs, 'find'> = {
    async find(query) {
      const page = await jobs.find(query);
      for (const job of await peers.show(page.items, call)) shown.set(job.header?.uid ?? '', job);
      return { ...page, items: page.items.map((stored) => ({ ...stored, value: projection(stored) })) };
    },
  };
  const projection = ({ id, value }: Stored<JobRecord>): JobRecord => {
    const live = table.live.get(id);
    const record = live?.stored.value ?? value;
    const parent = record.parent === undefined ? {} : { parent: `jobs/${record.parent}` };
    const held = live?.holder !== undefined || shown.get(id)?.state === JobState.RUNNING;
    // `running` is a state that only this projection knows.
    const running = held && record.state === 'queued';
    return { ...record, ...parent, ...(running && { state: 'running' as JobRecord['state'] }) };
  };
  const page = await listPage(projected, request, { indexes: jobIndexes, fields });
  const view = async (uid: string): Promise<Job | undefined> =>
    shown.get(uid) ?? (await table.view(uid).catch(() => undefined));
  const all = await Promise.all(page.items.map(({ id }) => view(id)));
  return { jobs: all.filter((job) => job !== undefined), nextPageToken: page.nextPageToken };
}

/** What the submission leaves open is taken from the call. */
function originated(job: NewJob, call: Call): NewJob {
  // The instance that forwarded it has done so.
  if (isForwarded(call)) return job;
  return {
    ...job,
    principal: job.principal || call.principal,
    onBehalfOf: job.onBehalfOf || (call.onBehalfOf ?? ''),
    requestId: job.requestId || call.requestId,
    traceparent: job.traceparent || (currentTraceparent() ?? ''),
  };
}
