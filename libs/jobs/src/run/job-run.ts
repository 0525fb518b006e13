/**
 * One run of a job: replays what is on record, goes on from there, and undoes when it must.
 * Invariants: a recorded step is not run again; an error that may pass never reaches the author's code while tries
 * are left (the run is abandoned and tried again from the record); unwinding goes in reverse over every step that
 * was asked for, also those that may have started without being recorded. A crash leaves the record; whoever
 * takes the job next does the same from there.
 */
import type { Status } from '@nephos/proto/google/rpc/status';
import type { JobAssignment } from '@nephos/proto/nephos/jobs/v1/executor';
import { JobBlockReason } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Cancelled, type Clock, Conflict, pauseAfter } from '@nephos/service';
import type { Logger } from 'pino';
import type { JobContext, JobDefinition } from '../definition.ts';
import { mayPass, statusOf } from '../status.ts';
import { Children } from './children.ts';
import { RunContext } from './context.ts';
import type { JobLedger, RunOutcome } from './ledger.ts';
import { Replay } from './replay.ts';
import { type Asked, Steps } from './steps.ts';
import { undoAll } from './unwind.ts';
import { toText } from './values.ts';

/** The world of a run. */
export interface RunScope {
  readonly ledger: JobLedger;
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborted from outside with `Cancelled` or `DeadlineExceeded`; the run itself aborts it when it unwinds. */
  readonly stop: AbortController;
  /** Runs a piece of the author's code on the job's behalf: interceptors, trace, origin of its calls. */
  within<R>(name: string, signal: AbortSignal | undefined, work: () => Promise<R>): Promise<R>;
}

/** How long the author's code has to come to an end once it was told to stop. */
const stopGraceMs = 30_000;
const longestBackoffMs = 60_000;

type Ended =
  | { readonly kind: 'returned'; readonly result: string }
  | { readonly kind: 'threw'; readonly error: unknown }
  | { readonly kind: 'abandoned'; readonly outcome: RunOutcome };

/** Runs the job as assigned. Stays pending for ever when the job is taken away or put to sleep. */
export async function runJob<I extends object, R, D>(
  definition: JobDefinition<I, R, D>,
  deps: D,
  assignment: JobAssignment,
  scope: RunScope,
): Promise<RunOutcome> {
  const version = assignment.definitionVersion;
  if (assignment.steps.length > 0 && version !== definition.version && !assignment.lenient) {
    const message = `its steps are of version ${version} of ${definition.type}, this executor has ${definition.version}`;
    return { kind: 'blocked', reason: JobBlockReason.VERSION_MISMATCH, message };
  }
  return await new JobRun(definition, deps, assignment, scope).outcome();
}

class JobRun<I extends object, R, D> {
  readonly #definition: JobDefinition<I, R, D>;
  readonly #deps: D;
  readonly #assignment: JobAssignment;
  readonly #scope: RunScope;
  readonly #replay: Replay;
  readonly #steps: Steps;
  readonly #children: Children;
  readonly #context: JobContext<I>;
  readonly #abandoned = Promise.withResolvers<RunOutcome>();
  readonly #undoing: boolean;

  constructor(definition: JobDefinition<I, R, D>, deps: D, assignment: JobAssignment, scope: RunScope) {
    this.#definition = definition;
    this.#deps = deps;
    this.#assignment = assignment;
    this.#scope = scope;
    this.#undoing = assignment.unwind !== undefined;
    this.#replay = new Replay(assignment.steps, assignment.lenient);
    this.#steps = new Steps({
      type: definition.type,
      version: definition.version,
      assignment,
      scope,
      replay: this.#replay,
      undoing: this.#undoing,
      isFinal: (error) => this.#isFinal(error),
      abandon: (error) => this.#abandon(error),
      block: (message) => this.#abandoned.resolve(blocked(JobBlockReason.STEP_MISMATCH, message)),
    });
    this.#children = new Children(assignment, scope, this.#steps, this.#undoing);
    this.#context = new RunContext<I>(assignment, scope, this.#steps, this.#children);
  }

  async outcome(): Promise<RunOutcome> {
    const ended = await this.#run();
    if (ended.kind === 'abandoned') {
      await this.#quiet();
      return ended.outcome;
    }
    const unwind = this.#assignment.unwind;
    if (unwind !== undefined) return await this.#undo(unwind.error ?? statusOf(undefined), unwind.cancelled);
    return ended.kind === 'threw' ? await this.#fail(ended.error) : succeeded(ended.result);
  }

  async #run(): Promise<Ended> {
    const abandoned = this.#abandoned.promise.then((outcome): Ended => ({ kind: 'abandoned', outcome }));
    return await Promise.race([this.#forward(), abandoned, this.#overdue()]);
  }

  async #forward(): Promise<Ended> {
    try {
      const { signal } = this.#scope.stop;
      const result = await this.#scope.within('run', signal, () =>
        this.#definition.run(this.#context, this.#deps),
      );
      await this.#children.rest();
      if (this.#steps.stopped !== undefined) return { kind: 'threw', error: this.#steps.stopped };
      if (!this.#undoing && this.#replay.unasked.length > 0) {
        const outcome = blocked(JobBlockReason.STEP_MISMATCH, neverAsked(await this.#replay.settle()));
        return { kind: 'abandoned', outcome };
      }
      return { kind: 'returned', result: toText(result, 'the result') };
    } catch (error) {
      return { kind: 'threw', error };
    }
  }

  /** Settles when the author's code was told to stop and did not. */
  #overdue(): Promise<Ended> {
    return new Promise((resolve) => {
      const { signal } = this.#scope.stop;
      const wait = (): void => {
        this.#scope.clock.timer(stopGraceMs, () => resolve({ kind: 'threw', error: signal.reason }));
      };
      if (signal.aborted) wait();
      else signal.addEventListener('abort', wait, { once: true });
    });
  }

  #isFinal(error: unknown): boolean {
    const lastTry = this.#assignment.attempt >= this.#definition.retry.attempts;
    return lastTry || this.#steps.isSettled(error) || !mayPass(error);
  }

  #abandon(error: unknown): void {
    this.#abandoned.resolve(this.#retry(error));
  }

  #retry(error: unknown): RunOutcome {
    this.#scope.log.warn({ err: error, step: this.#steps.latest }, 'a run failed and will be tried again');
    const { backoffMs } = this.#definition.retry;
    const backoff = { firstMs: backoffMs, maxMs: Math.max(backoffMs, longestBackoffMs) };
    return {
      kind: 'retry',
      error: statusOf(error),
      backoffMs: pauseAfter(this.#assignment.attempt, backoff),
    };
  }

  async #fail(error: unknown): Promise<RunOutcome> {
    const { stop } = this.#scope;
    if (!stop.signal.aborted && !this.#isFinal(error)) {
      await this.#quiet();
      return this.#retry(error);
    }
    const reason: unknown = stop.signal.aborted ? stop.signal.reason : error;
    // Taken away, or asleep: nothing failed, and nobody waits for what this run would say.
    if (stop.signal.aborted && reason instanceof Conflict) return await new Promise<never>(() => {});
    const cancelled = stop.signal.aborted && reason instanceof Cancelled;
    this.#scope.log.warn({ err: reason, step: this.#steps.latest, cancelled }, 'a run failed');
    if (!stop.signal.aborted) stop.abort(new Cancelled('JOB_CANCELLED', 'the job is being unwound'));
    await this.#quiet();
    const status = statusOf(reason);
    const nothingToUndo = this.#steps.asked.every((step) => step.undo === undefined);
    if (nothingToUndo && this.#replay.unasked.length === 0 && this.#children.count === 0) {
      return failed(status, cancelled);
    }
    await this.#scope.ledger.beginUnwinding(status, cancelled);
    if (this.#replay.unasked.length === 0) return await this.#undo(status, cancelled);
    return await this.#undoByReplay(status, cancelled);
  }

  /** The run ended before it came to all that is on record: replay it, only to learn the undos. */
  async #undoByReplay(error: Status, cancelled: boolean): Promise<RunOutcome> {
    const steps = new Map(this.#assignment.steps.map((step) => [step.name, step]));
    for (const { recorded } of this.#steps.asked)
      if (recorded !== undefined) steps.set(recorded.name, recorded);
    const assignment = { ...this.#assignment, steps: [...steps.values()], unwind: { error, cancelled } };
    const scope = { ...this.#scope, stop: new AbortController() };
    return await new JobRun(this.#definition, this.#deps, assignment, scope).outcome();
  }

  async #undo(error: Status, cancelled: boolean): Promise<RunOutcome> {
    const given = new Set(this.#assignment.skipSteps);
    const done = new Set(this.#assignment.steps.filter((step) => step.undone).map((step) => step.name));
    const unknown = (await this.#replay.settle()).filter((name) => !given.has(name) && !done.has(name));
    if (unknown.length > 0) return blocked(JobBlockReason.STEP_MISMATCH, neverAsked(unknown));
    const asked: readonly Asked[] = this.#steps.asked;
    const failure = await undoAll(asked, given, { scope: this.#scope, definition: this.#definition });
    return failure === undefined ? failed(error, cancelled) : blocked(JobBlockReason.UNDO_FAILED, failure);
  }

  /** Waits for the steps under way; when told to stop, no longer than the grace. */
  async #quiet(): Promise<void> {
    if (this.#steps.busy) await Promise.race([this.#steps.idle(), this.#overdue()]);
  }
}

function succeeded(result: string): RunOutcome {
  return { kind: 'finished', finished: { outcome: { $case: 'result', value: result } } };
}

function failed(error: Status, cancelled: boolean): RunOutcome {
  return {
    kind: 'finished',
    finished: { outcome: { $case: cancelled ? 'cancelled' : 'error', value: error } },
  };
}

function blocked(reason: JobBlockReason, message: string): RunOutcome {
  return { kind: 'blocked', reason, message };
}

function neverAsked(names: readonly string[]): string {
  return `it is recorded as having done ${names.join(', ')}, which this definition never asks for`;
}
