/**
 * The steps of one run: what is on record is given back, what is not is run and recorded.
 * Invariant: a step's promise settles only after its outcome is on record; one whose error may pass never settles
 * while tries are left, for the run is abandoned.
 */
import type { JobAssignment, RecordedStep } from '@nephos/proto/nephos/jobs/v1/executor';
import { Cancelled, DeadlineExceeded, failpoint } from '@nephos/service';
import type { StepOptions, StepScope } from '../definition.ts';
import { errorOf, statusOf } from '../status.ts';
import type { RunScope } from './job-run.ts';
import type { Replay } from './replay.ts';
import { fromText, toText } from './values.ts';

/** A step that the run asked for: what unwinding walks back over. */
export interface Asked {
  readonly name: string;
  readonly position: number;
  readonly input: unknown;
  readonly undo: ((input: never, result: never) => Promise<void>) | undefined;
  /** Undefined: it may have started. */
  recorded: RecordedStep | undefined;
}

export interface StepsOptions {
  readonly type: string;
  readonly version: number;
  readonly assignment: JobAssignment;
  readonly scope: RunScope;
  readonly replay: Replay;
  /** True: nothing new is run, the replay only learns the undos. */
  readonly undoing: boolean;
  isFinal(error: unknown): boolean;
  abandon(error: unknown): void;
  block(message: string): void;
}

/** What a run that is over waits on: nothing. It is collected with everything it holds. */
function never(): Promise<never> {
  return new Promise(() => {});
}

export class Steps {
  readonly #options: StepsOptions;
  readonly #running = new Set<Promise<unknown>>();
  readonly #settled = new WeakSet<object>();
  readonly asked: Asked[] = [];
  /** Set once a step refused to run because the job is stopping: then the run cannot have succeeded. */
  stopped: unknown;
  /** The step begun last, for the log. */
  latest = '';

  constructor(options: StepsOptions) {
    this.#options = options;
  }

  get busy(): boolean {
    return this.#running.size > 0;
  }

  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  /** True for an error on record as a step's final one. */
  isSettled(error: unknown): boolean {
    return typeof error === 'object' && error !== null && this.#settled.has(error);
  }

  /** Keeps `work` in mind as a branch under way until it settles. */
  async track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
    }
  }

  async step<T, In>(
    name: string,
    run: (step: StepScope) => Promise<T>,
    options: StepOptions<T, In> = {},
  ): Promise<T> {
    const { replay, undoing, scope, block } = this.#options;
    // Refused before anything happens: what cannot be recorded could not be undone either.
    toText(options.input, `the input of step ${name}`);
    const found = replay.ask(name);
    if (found === undefined) {
      block(`it asked twice for a step named ${name}`);
      return await never();
    }
    const asked: Asked = {
      name,
      position: found.position,
      recorded: found.recorded,
      input: options.input,
      undo: options.undo,
    };
    this.asked.push(asked);
    if (!undoing) {
      const bound = found.recorded === undefined ? Number.POSITIVE_INFINITY : found.position;
      const missing = await replay.inOrder(bound, () => this.#branch());
      if (missing !== undefined) {
        block(`it asked for the step ${name} where ${missing} is on record`);
        return await never();
      }
    }
    if (found.recorded !== undefined) return this.#recall<T>(found.recorded);
    if (undoing || scope.stop.signal.aborted) {
      this.stopped = scope.stop.signal.reason ?? new Cancelled('JOB_CANCELLED', 'the job is being unwound');
      throw this.stopped;
    }
    const outcome = await this.track(this.#execute(asked, run, options));
    return outcome === undefined ? await never() : outcome.value;
  }

  #recall<T>(recorded: RecordedStep): T {
    if (recorded.error === undefined) return fromText<T>(recorded.result);
    const error = errorOf(recorded.error);
    this.#settled.add(error);
    throw error;
  }

  #branch(): Promise<unknown> | undefined {
    return this.#running.size === 0
      ? undefined
      : Promise.race([...this.#running].map((work) => work.catch(() => {})));
  }

  /** Undefined: the run is abandoned. */
  async #execute<T, In>(
    asked: Asked,
    run: (step: StepScope) => Promise<T>,
    options: StepOptions<T, In>,
  ): Promise<{ readonly value: T } | undefined> {
    const { scope, isFinal, abandon } = this.#options;
    const { name } = asked;
    const startTime = BigInt(scope.clock.now().getTime());
    this.latest = name;
    scope.ledger.stepStarted(name);
    try {
      const value = await this.#attempt(name, run, options.timeoutMs);
      const result = toText(value, `the result of step ${name}`);
      await this.#record(asked, { result, startTime });
      return { value: fromText<T>(result) };
    } catch (error) {
      if (scope.stop.signal.aborted) {
        this.stopped = scope.stop.signal.reason;
        throw this.stopped;
      }
      if (!isFinal(error)) {
        scope.ledger.stepFailed(name, statusOf(error));
        abandon(error);
        return undefined;
      }
      await this.#record(asked, { error: statusOf(error), startTime });
      if (typeof error === 'object' && error !== null) this.#settled.add(error);
      throw error;
    }
  }

  async #record(
    asked: Asked,
    outcome: Pick<RecordedStep, 'startTime'> & Partial<RecordedStep>,
  ): Promise<void> {
    const { scope, assignment } = this.#options;
    const record: RecordedStep = {
      name: asked.name,
      position: asked.position,
      input: toText(asked.input, `the input of step ${asked.name}`),
      result: '',
      error: undefined,
      attempt: assignment.attempt,
      undone: false,
      endTime: BigInt(scope.clock.now().getTime()),
      ...outcome,
    };
    await scope.ledger.recordStep(record);
    asked.recorded = record;
  }

  async #attempt<T>(
    name: string,
    run: (step: StepScope) => Promise<T>,
    timeoutMs: number | undefined,
  ): Promise<T> {
    const { scope, assignment, type } = this.#options;
    const facts = { job: type, step: name };
    const id = `${assignment.uid}/${name}`;
    const invoke = (signal: AbortSignal): Promise<T> =>
      scope.within(`${type}/${name}`, signal, async () => {
        await failpoint('job.step.before', facts);
        const value = await run({ signal, id });
        await failpoint('job.step.after', facts);
        return value;
      });
    if (timeoutMs === undefined) return await invoke(scope.stop.signal);
    const limit = new AbortController();
    const late = Promise.withResolvers<never>();
    using _timer = scope.clock.timer(timeoutMs, () => {
      const error = new DeadlineExceeded('JOB_TIMED_OUT', `step ${name} took longer than ${timeoutMs} ms`);
      limit.abort(error);
      late.reject(error);
    });
    return await Promise.race([invoke(AbortSignal.any([scope.stop.signal, limit.signal])), late.promise]);
  }
}
