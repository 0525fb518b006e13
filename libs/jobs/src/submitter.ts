/**
 * One stream of submissions. It opens with the first one; when it breaks, what has no answer yet is sent again on
 * the next, until each submission's own deadline; so is what nobody takes at present.
 */
import {
  type Job,
  JobEventLevel,
  type JobServiceDefinition,
  JobState,
  type NewJob,
  type SubmitRequest,
  type SubmitResult,
} from '@nephos/proto/nephos/jobs/v1/jobs';
import { type Client, type Clock, Internal, Invalid, pauseAfter, runAs, Unavailable } from '@nephos/service';
import { Frames } from './frames.ts';
import { errorOf } from './status.ts';

interface Waiting {
  readonly job: NewJob;
  /** On the monotonic clock. */
  readonly deadline: number;
  readonly deadlineMs: number;
  readonly answers: PromiseWithResolvers<Job>;
}

const backoff = { firstMs: 50, maxMs: 2000 };
/** How often deadlines are looked at: one timer for all submissions. */
const lookMs = 250;

export class Submitter implements AsyncDisposable {
  readonly #service: Client<JobServiceDefinition>;
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Waiting>();
  readonly #closing = new AbortController();
  #frames: Frames<NewJob> | undefined;
  #loop: Promise<void> | undefined;

  constructor(service: Client<JobServiceDefinition>, clock: Clock) {
    this.#service = service;
    this.#clock = clock;
  }

  submit(job: NewJob, deadlineMs: number): Promise<Job> {
    const same = this.#waiting.get(job.uid);
    if (same !== undefined) {
      if (isSameJob(same.job, job)) return same.answers.promise;
      const message = `job ${job.uid} is being submitted as something else`;
      return Promise.reject(new Invalid('REQUEST_ID_REUSED', message));
    }
    if (this.#closing.signal.aborted) return Promise.reject(unavailable('this service is stopping'));
    const answers = Promise.withResolvers<Job>();
    const deadline = this.#clock.monotonic() + deadlineMs;
    this.#waiting.set(job.uid, { job, deadline, deadlineMs, answers });
    this.#frames?.push(job);
    // The stream belongs to nobody's call: no deadline, no principal.
    this.#loop ??= runAs({}, () => this.#run());
    return answers.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#frames?.end();
    for (const { answers } of this.#waiting.values()) answers.reject(unavailable('this service is stopping'));
    this.#waiting.clear();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    using _looks = this.#clock.every(lookMs, () => this.#giveUpLate());
    for (let attempt = 1; !signal.aborted && this.#waiting.size > 0; attempt += 1) {
      try {
        if (await this.#stream(signal)) attempt = 0;
      } catch {
        // Whatever broke the stream, the submissions are still waiting: again.
      }
      if (this.#waiting.size > 0)
        await this.#clock.sleep(pauseAfter(Math.max(1, attempt), backoff), signal).catch(() => {});
    }
    this.#loop = undefined;
  }

  #giveUpLate(): void {
    const now = this.#clock.monotonic();
    for (const [uid, { deadline, deadlineMs, answers }] of this.#waiting) {
      if (deadline > now) continue;
      this.#waiting.delete(uid);
      answers.reject(unavailable(`job control took no submission for ${deadlineMs} ms`));
    }
  }

  /** True when it carried an answer. */
  async #stream(signal: AbortSignal): Promise<boolean> {
    const frames = new Frames<NewJob>(({ input }) => JSON.stringify(input ?? {}).length);
    let answered = false;
    try {
      for (const { job } of this.#waiting.values()) frames.push(job);
      this.#frames = frames;
      for await (const { results } of this.#service.submit(requestsOf(frames), { signal })) {
        for (const result of results) this.#settle(result);
        answered = true;
      }
    } finally {
      this.#frames = undefined;
      frames.end();
    }
    return answered;
  }

  #settle(result: SubmitResult): void {
    const waiting = this.#waiting.get(result.uid);
    if (waiting === undefined) return;
    const { answers } = waiting;
    const error = result.outcome?.$case === 'error' ? errorOf(result.outcome.value) : undefined;
    if (error instanceof Unavailable) return this.#sendAgain(waiting, error);
    this.#waiting.delete(result.uid);
    switch (result.outcome?.$case) {
      case 'accepted':
        return answers.resolve(accepted(waiting.job, result.outcome.value));
      case 'existing':
        return answers.resolve(result.outcome.value);
      case 'error':
        return answers.reject(error);
      default:
        answers.reject(new Internal('INTERNAL', `no outcome came for job ${result.uid}`));
    }
  }

  /** Nobody takes it now: it goes out again after a pause, on whatever stream stands then. */
  #sendAgain({ job }: Waiting, { details }: Unavailable): void {
    this.#clock.timer(details.retryAfterMs ?? backoff.firstMs, () => {
      if (this.#waiting.has(job.uid)) this.#frames?.push(job);
    });
  }
}

function unavailable(message: string): Unavailable {
  return new Unavailable('SERVICE_UNAVAILABLE', message);
}

async function* requestsOf(frames: Frames<NewJob>): AsyncGenerator<SubmitRequest> {
  for await (const jobs of frames) yield { jobs: [...jobs] };
}

function isSameJob(one: NewJob, other: NewJob): boolean {
  return one.type === other.type && JSON.stringify(one.input) === JSON.stringify(other.input);
}

/** The job as it is right after its submission: cheaper than to send it back. */
function accepted(job: NewJob, { createTime, etag }: { createTime: Date | undefined; etag: string }): Job {
  const name = `jobs/${job.uid}`;
  return {
    header: {
      name,
      uid: job.uid,
      displayName: job.displayName,
      owner: job.owner,
      zone: job.zone,
      labels: job.labels,
      annotations: {},
      etag,
      createTime,
      updateTime: createTime,
    },
    type: job.type,
    definitionVersion: job.definitionVersion,
    state: JobState.QUEUED,
    parent: '',
    root: name,
    target: job.target,
    input: job.input,
    result: undefined,
    error: undefined,
    progress: undefined,
    steps: [],
    attempt: 0,
    cancelRequested: false,
    executor: '',
    principal: job.principal,
    onBehalfOf: job.onBehalfOf,
    requestId: job.requestId,
    traceparent: job.traceparent,
    waits: [],
    children: [],
    block: undefined,
    eventLevel: job.eventLevel === JobEventLevel.UNSPECIFIED ? JobEventLevel.OUTCOME : job.eventLevel,
  };
}
