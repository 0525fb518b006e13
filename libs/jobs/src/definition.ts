/**
 * What a job's author writes against: `defineJob` and the context that `run` is given.
 * `run` is replayed: after a crash, a backoff or a wait it starts again from the top, on any executor, and the
 * steps that were recorded give their recorded result. So it decides only on its input and on results of steps,
 * and touches the world only inside steps.
 */
import { Invalid } from '@nephos/service';
import type { Logger } from 'pino';

/** How an author says that a job may be tried again. Only errors that may pass are (see errors.ts). */
export interface RetryPolicy {
  /** Tries in a row without a step getting done, the first included. Default 5. */
  readonly attempts: number;
  /** Before the second try, in milliseconds; doubled for each further one, at most a minute. Default 500. */
  readonly backoffMs: number;
}

/** What a step's function is told. */
export interface StepScope {
  /** Aborted when the job is cancelled, times out or is taken away, and when the step's own time is up. */
  readonly signal: AbortSignal;
  /** `{job uid}/{step name}`: the same in every try and every process, so it serves as idempotency key. */
  readonly id: string;
}

/** What may be said of a step. */
export interface StepOptions<T, In> {
  /** Recorded beside the result, and handed to `undo`. JSON data. */
  readonly input?: In;
  /**
   * Takes the step back. Idempotent. `result` is undefined when the step may have started but was never recorded:
   * it must then find out for itself whether anything was made. It may be called long after, in another process.
   */
  readonly undo?: (input: In, result: T | undefined) => Promise<void>;
  /** Milliseconds; then the step fails with `DeadlineExceeded`, which is tried again like `Unavailable`. */
  readonly timeoutMs?: number;
}

/** A job started by this one. */
export interface ChildHandle<R> {
  readonly uid: string;
  /** Resource name, `jobs/{uid}`. */
  readonly name: string;
  /** Only for the type of `all`'s result; never set. */
  readonly result?: R;
}

/** The results of children, in the order of their handles. */
export type ChildResults<H extends readonly ChildHandle<unknown>[]> = {
  -readonly [K in keyof H]: H[K] extends ChildHandle<infer R> ? R : never;
};

/** What `run` is given. */
export interface JobContext<I> {
  readonly uid: string;
  readonly input: I;
  /** Aborted when the job is cancelled, times out or is taken away. */
  readonly signal: AbortSignal;
  /** Carries job, root and request id in every line. */
  readonly log: Logger;
  /** This try, from 1; counts from 1 again after a step was recorded. */
  readonly attempt: number;
  /** Uid of the first job of the tree; the own one for a root job. */
  readonly root: string;
  /** Uid of the job that started this one. */
  readonly parent?: string | undefined;
  /** Resource name of what the job works on. */
  readonly target?: string | undefined;
  readonly owner: string;
  readonly zone: string;
  readonly principal: string;
  readonly onBehalfOf?: string | undefined;
  readonly requestId: string;
  /**
   * For side effects that must not be repeated by a zombie: ordered by epoch, then by token (a decimal number).
   * Read it where it is used: it rises when the job is adopted after job control changed hands.
   */
  readonly fence: { readonly epoch: bigint; readonly token: string };
  /**
   * Runs `run` once it is known not to be recorded, records what it gives, and gives that. `name` is unique within
   * the job and the same in each replay. The result is JSON data (a `Date` comes back as text).
   */
  step<T, In = undefined>(
    name: string,
    run: (step: StepScope) => Promise<T>,
    options?: StepOptions<T, In>,
  ): Promise<T>;
  /** 0 to 100, and a few words for people. Cheap: kept in memory and written with what is written anyway. */
  progress(percent: number, message: string): void;
  /** Starts a job in the same tree. Without `uid` one is derived from this job and the call's position. */
  child<CI extends object, CR, CD>(
    definition: JobDefinition<CI, CR, CD>,
    input: CI,
    options?: { readonly uid?: string; readonly target?: string; readonly displayName?: string },
  ): Promise<ChildHandle<CR>>;
  /**
   * Waits until all are over, holding no executor meanwhile, then gives their results. Throws `Precondition`
   * (CHILD_FAILED) when one of them failed or was cancelled.
   */
  all<const H extends readonly ChildHandle<unknown>[]>(children: H): Promise<ChildResults<H>>;
  /** Adds a line to the job's own log, for whoever looks into it later. */
  annotate(message: string): void;
}

/** Which changes of a job become events on the job stream. */
export type JobEvents = 'all' | 'outcome' | 'none';

/** What `defineJob` takes. */
export interface JobOptions<I extends object, R, D> {
  /** `entity.verb`, e.g. `vm.create`. */
  readonly type: string;
  /** Rises when steps are added, removed, renamed or reordered. */
  readonly version: number;
  /** From the first start to the end, waits included; unwinding is not bounded by it. */
  readonly timeoutMs: number;
  readonly retry?: Partial<RetryPolicy>;
  /** Which changes become events. Default `outcome`. */
  readonly events?: JobEvents;
  run(job: JobContext<I>, deps: D): Promise<R>;
}

/** A job as executors run it and clients submit it. */
export interface JobDefinition<I extends object, R, D> {
  readonly type: string;
  readonly version: number;
  readonly timeoutMs: number;
  readonly retry: RetryPolicy;
  readonly events: JobEvents;
  run(job: JobContext<I>, deps: D): Promise<R>;
}

const typePattern = /^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+$/;

/** Declares a job. Throws `Invalid` on a malformed type, version, time-out or retry policy. */
export function defineJob<I extends object, R, D = unknown>(
  options: JobOptions<I, R, D>,
): JobDefinition<I, R, D> {
  const retry = { attempts: 5, backoffMs: 500, ...options.retry };
  const wrong = (what: string): never => {
    throw new Invalid('FIELD_INVALID', `job ${options.type}: ${what}`);
  };
  if (!typePattern.test(options.type)) wrong('its type is not of the form `entity.verb`');
  if (!Number.isSafeInteger(options.version) || options.version < 1)
    wrong('its version is not an integer from 1 on');
  if (!(options.timeoutMs > 0)) wrong('its timeoutMs is not above 0');
  if (!Number.isSafeInteger(retry.attempts) || retry.attempts < 1)
    wrong('its retry.attempts is not 1 or more');
  if (!(retry.backoffMs >= 0)) wrong('its retry.backoffMs is below 0');
  return Object.freeze({
    type: options.type,
    version: options.version,
    timeoutMs: options.timeoutMs,
    retry: Object.freeze(retry),
    events: options.events ?? 'outcome',
    run: (job: JobContext<I>, deps: D) => options.run(job, deps),
  });
}
