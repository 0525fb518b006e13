/** Follows long work: the job behind an operation (`operations/{uid}` is `jobs/{uid}`), until it is over. */
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import { type Job, JobServiceDefinition, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { fromStatusMessage, Internal, retry, Unavailable } from '@nephos/service';
import type { Platform } from './platform.ts';

const jobControl = 'job-control';
const ended: ReadonlySet<JobState> = new Set([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]);

export function isOver({ state }: Job): boolean {
  return ended.has(state);
}

/** The resource name of the job that an operation is. */
export function jobNameOf({ name }: Pick<Operation, 'name'>): string {
  return name.replace(/^operations\//, 'jobs/');
}

export interface WatchOptions {
  /** Called with the job as it is now and after each change; intermediate ones may be left out. */
  readonly onChange?: (job: Job) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Resolves with the job once it is over, however it ended. Job control may be away for a while meanwhile.
 * Throws `NotFound`, `Cancelled` when the signal aborts, `Unavailable` when job control stays away for a minute.
 */
export function finishedJob(platform: Platform, name: string, options: WatchOptions = {}): Promise<Job> {
  const { signal, onChange } = options;
  return retry(
    async () => {
      const jobs = await platform.client(JobServiceDefinition, jobControl);
      for await (const job of jobs.watchJob({ name }, { signal })) {
        onChange?.(job);
        if (isOver(job)) return job;
      }
      throw new Unavailable('SERVICE_UNAVAILABLE', 'job control ended the watch before the job was over');
    },
    { attempts: 30, backoff: { firstMs: 100, maxMs: 3000 }, signal, clock: platform.clock },
  );
}

/** Waits for an operation; throws the error it ended with. */
export async function finishedOperation(
  platform: Platform,
  operation: Pick<Operation, 'name'>,
  options: WatchOptions = {},
): Promise<Job> {
  const job = await finishedJob(platform, jobNameOf(operation), options);
  if (job.state === JobState.SUCCEEDED) return job;
  throw job.error === undefined
    ? new Internal('INTERNAL', `${job.header?.name ?? 'the job'} ended without saying why`)
    : fromStatusMessage(job.error);
}
