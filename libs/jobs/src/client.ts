/**
 * Submits, reads and steers jobs. Submissions that come together travel in one frame of one stream; each is
 * idempotent on its uid, so what a broken stream left unanswered is simply sent again.
 */
import { type Job, JobServiceDefinition, JobState, type NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { currentOrigin, currentTraceparent, newUid, type ServiceContext } from '@nephos/service';
import type { JobDefinition } from './definition.ts';
import { toText } from './run/values.ts';
import { newJobOf } from './submission.ts';
import { Submitter } from './submitter.ts';

/** What a submitter says of a job. */
export interface SubmitOptions<I extends object> {
  /** UUIDv7, minted and recorded by the submitter before this call. */
  readonly uid: string;
  readonly input: I;
  readonly owner: string;
  /** `zones/{uid}`, or empty. */
  readonly zone: string;
  /** Resource name of what the job works on. */
  readonly target: string;
  readonly displayName?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Default: that of the call under way. */
  readonly requestId?: string;
  readonly principal?: string;
  readonly onBehalfOf?: string;
  /** How long to try while job control is out of reach, in milliseconds. Default 30 s. */
  readonly deadlineMs?: number;
}

export interface ListOptions {
  /** AIP-160, see `JobService.ListJobs`. */
  readonly filter?: string;
  readonly pageSize?: number;
  readonly pageToken?: string;
}

export interface JobClient {
  /**
   * Resolves once the record is synced, with the job as it is. The same job again gives what became of it.
   * Throws `Invalid` (REQUEST_ID_REUSED) for another job under that uid, `Unavailable` after the deadline.
   */
  submit<I extends object, R, D>(definition: JobDefinition<I, R, D>, options: SubmitOptions<I>): Promise<Job>;
  /** Throws `NotFound`. */
  get(uid: string): Promise<Job>;
  list(options?: ListOptions): Promise<{ readonly jobs: readonly Job[]; readonly nextPageToken: string }>;
  cancel(uid: string): Promise<Job>;
  /** Throws `Precondition` when the job is not blocked; so does `unwind`. */
  resume(uid: string): Promise<Job>;
  unwind(uid: string, skipSteps?: readonly string[]): Promise<Job>;
  /** The state now, then after each change, until the job is over. */
  watch(uid: string, signal?: AbortSignal): AsyncIterable<Job>;
  /** The job once it is over. Takes up the watch again when job control is away for a while. */
  finished(uid: string, signal?: AbortSignal): Promise<Job>;
}

export interface JobClientOptions {
  /** Default: `job-control`, by the directory. */
  readonly target?: string;
}

const final: ReadonlySet<JobState> = new Set([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]);

/** True for a state that does not change any more. */
export function isOver(state: JobState): boolean {
  return final.has(state);
}

export function jobClient(ctx: ServiceContext, { target = 'job-control' }: JobClientOptions = {}): JobClient {
  const service = ctx.clients.of(JobServiceDefinition, target);
  const submitter = ctx.resources.use(new Submitter(service, ctx.clock));
  const name = (uid: string): string => `jobs/${uid}`;

  async function* watch(uid: string, signal?: AbortSignal): AsyncGenerator<Job> {
    for await (const job of service.watchJob({ name: name(uid) }, { signal })) yield job;
  }

  return {
    submit: async (definition, options) =>
      await submitter.submit(newJob(definition, options), options.deadlineMs ?? 30_000),
    get: async (uid) => await service.getJob({ name: name(uid) }),
    list: async (options = {}) => await service.listJobs(options),
    cancel: async (uid) => await service.cancelJob({ name: name(uid) }),
    resume: async (uid) => await service.resumeJob({ name: name(uid) }),
    unwind: async (uid, skipSteps = []) =>
      await service.unwindJob({ name: name(uid), skipSteps: [...skipSteps] }),
    watch,
    async finished(uid, signal) {
      for (;;) {
        try {
          for await (const job of watch(uid, signal)) if (isOver(job.state)) return job;
        } catch (error) {
          if (!isAway(error)) throw error;
        }
        await ctx.clock.sleep(100, signal);
      }
    },
  };
}

function isAway(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'kind' in error && error.kind === 'unavailable';
}

function newJob<I extends object, R, D>(
  definition: JobDefinition<I, R, D>,
  options: SubmitOptions<I>,
): NewJob {
  const origin = currentOrigin();
  // What cannot be recorded is refused here, with the author on the stack.
  const input = JSON.parse(toText(options.input, 'the input')) as I;
  return newJobOf(definition, {
    uid: options.uid,
    input,
    owner: options.owner,
    zone: options.zone,
    target: options.target,
    displayName: options.displayName ?? '',
    ...(options.labels && { labels: options.labels }),
    origin: {
      principal: options.principal ?? origin.principal ?? '',
      onBehalfOf: options.onBehalfOf ?? origin.onBehalfOf ?? '',
      requestId: options.requestId ?? origin.requestId ?? newUid(),
      traceparent: currentTraceparent() ?? '',
    },
  });
}
