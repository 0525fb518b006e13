/**
 * Runs a job definition in this process against a record in memory, with faults at chosen places.
 * The engine is the real one; only job control is played: the record, the tokens, the tries, the children.
 */
import type { Status } from '@nephos/proto/google/rpc/status';
import type { ChildOutcome, JobAssignment, RecordedStep } from '@nephos/proto/nephos/jobs/v1/executor';
import { JobEventLevel, JobState, type NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Cancelled, type Clock, newUid, systemClock } from '@nephos/service';
import { pino } from 'pino';
import type { JobDefinition } from '../definition.ts';
import { runJob } from '../run/job-run.ts';
import type { JobLedger, RunOutcome } from '../run/ledger.ts';
import { toText } from '../run/values.ts';
import { errorOf, statusOf } from '../status.ts';

/** What a fault does to one run of a step or an undo. `place` is `step` or `step/undo`. */
export type Fault = <R>(place: string, work: () => Promise<R>, crash: () => Promise<never>) => Promise<R>;

export interface MemoryJobOptions<D> {
  readonly deps: D;
  /** The definitions of the children that the job starts. */
  readonly children?: readonly JobDefinition<object, unknown, D>[];
  readonly clock?: Clock;
}

/** How a job ended. */
export type Ended =
  | { readonly state: 'succeeded'; readonly result: unknown }
  | { readonly state: 'failed' | 'cancelled'; readonly error: Error }
  | { readonly state: 'blocked'; readonly error: Error };

/** Tries in a row without progress before the harness gives up. */
const mostTries = 50;

export class MemoryJob<I extends object, R, D> implements JobLedger {
  readonly uid: string;
  readonly steps = new Map<string, RecordedStep>();
  /** Places in the order in which the author's code ran, e.g. `place`, `place/undo`. */
  readonly trace: string[] = [];
  readonly #definition: JobDefinition<I, R, D>;
  readonly #options: MemoryJobOptions<D>;
  readonly #input: string;
  readonly #children = new Map<string, Promise<ChildOutcome>>();
  #unwind: { readonly error: Status; readonly cancelled: boolean } | undefined;
  #token = 0;
  #attempt = 0;
  /** Reports of a run before this one are no longer taken. */
  #run = 0;

  constructor(definition: JobDefinition<I, R, D>, input: I, options: MemoryJobOptions<D>, uid = newUid()) {
    this.uid = uid;
    this.#definition = definition;
    this.#input = toText(input, 'the input');
    this.#options = options;
  }

  get fence(): { readonly epoch: bigint; readonly token: string } {
    return { epoch: 1n, token: String(this.#token) };
  }

  /** From here on the job only undoes, as after a cancellation that came while no executor held it. */
  cancel(): void {
    this.#unwind = {
      error: statusOf(new Cancelled('JOB_CANCELLED', 'the job was cancelled')),
      cancelled: true,
    };
  }

  /** Runs it to its end; crashes are survived by a new run from the record. */
  async run(fault: Fault = (_place, work) => work()): Promise<Ended> {
    for (let tries = 0; tries < mostTries; tries += 1) {
      const outcome = await this.#once(fault);
      if (outcome === 'crashed') continue;
      if (outcome.kind === 'retry') {
        this.#attempt += 1;
        continue;
      }
      if (outcome.kind === 'blocked') return { state: 'blocked', error: new Error(outcome.message) };
      return endOf(outcome.finished.outcome);
    }
    return { state: 'blocked', error: new Error(`it came to no end in ${mostTries} runs`) };
  }

  async #once(fault: Fault): Promise<RunOutcome | 'crashed'> {
    this.#run += 1;
    this.#token += 1;
    const run = this.#run;
    const crashed = Promise.withResolvers<'crashed'>();
    const crash = (): Promise<never> => {
      // Whatever this run still does is a dead process's: it reaches no record.
      if (this.#run === run) this.#run += 1;
      crashed.resolve('crashed');
      return new Promise(() => {});
    };
    const outcome = runJob(this.#definition, this.#options.deps, this.#assignment(), {
      ledger: this.#ledgerOf(run),
      clock: quickClock(this.#options.clock ?? systemClock),
      log: pino({ level: 'silent' }),
      stop: new AbortController(),
      within: (name, _signal, work) => {
        if (name === 'run') return work();
        const place = name.slice(this.#definition.type.length + 1);
        this.trace.push(place);
        return fault(place, work, crash);
      },
    });
    return await Promise.race([outcome, crashed.promise]);
  }

  /** The ledger as one run sees it: promises of a run that crashed never settle. */
  #ledgerOf(run: number): JobLedger {
    const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
      if (this.#run !== run) return await new Promise<never>(() => {});
      return await work();
    };
    return {
      fence: this.fence,
      stepStarted: () => {},
      stepFailed: () => {},
      undoStarted: () => {},
      progress: () => {},
      annotate: () => {},
      recordStep: (step) => guarded(() => this.recordStep(step)),
      recordUndone: (step) => guarded(() => this.recordUndone(step)),
      submitChild: (job) => guarded(() => this.submitChild(job)),
      awaitChildren: (uids) => guarded(() => this.awaitChildren(uids)),
      beginUnwinding: (error, cancelled) => guarded(() => this.beginUnwinding(error, cancelled)),
    };
  }

  stepStarted(): void {}
  stepFailed(): void {}
  undoStarted(): void {}
  progress(): void {}
  annotate(): void {}

  async recordStep(step: RecordedStep): Promise<void> {
    this.steps.set(step.name, step);
    this.#attempt = 0;
    await Promise.resolve();
  }

  async recordUndone(step: RecordedStep): Promise<void> {
    this.steps.set(step.name, step);
    await Promise.resolve();
  }

  async submitChild(job: NewJob): Promise<void> {
    if (this.#children.has(job.uid)) return;
    const definition = this.#options.children?.find(({ type }) => type === job.type);
    if (definition === undefined) throw new Error(`the harness was not given the child ${job.type}`);
    const child = new MemoryJob(definition, job.input ?? {}, this.#options, job.uid);
    this.#children.set(
      job.uid,
      child.run().then((ended) => childOutcome(job.uid, ended)),
    );
    await Promise.resolve();
  }

  async awaitChildren(uids: readonly string[]): Promise<readonly ChildOutcome[]> {
    return await Promise.all(
      uids.map(
        async (uid) =>
          (await this.#children.get(uid)) ?? { uid, state: JobState.CANCELLED, result: '', error: undefined },
      ),
    );
  }

  async beginUnwinding(error: Status, cancelled: boolean): Promise<void> {
    this.#unwind = { error, cancelled };
    await Promise.all(this.#children.values());
  }

  #assignment(): JobAssignment {
    return {
      uid: this.uid,
      epoch: 1n,
      token: BigInt(this.#token),
      type: this.#definition.type,
      definitionVersion: this.#definition.version,
      input: this.#input,
      attempt: this.#attempt + 1,
      root: this.uid,
      parent: '',
      target: '',
      owner: 'harness',
      zone: '',
      principal: 'harness',
      onBehalfOf: '',
      requestId: this.uid,
      traceparent: '',
      steps: [...this.steps.values()].sort((a, b) => a.position - b.position),
      unwind: this.#unwind,
      skipSteps: [],
      lenient: false,
      partition: 0,
      eventLevel: JobEventLevel.NONE,
    };
  }
}

function endOf(outcome: Extract<RunOutcome, { kind: 'finished' }>['finished']['outcome']): Ended {
  switch (outcome?.$case) {
    case 'result':
      return { state: 'succeeded', result: outcome.value === '' ? undefined : JSON.parse(outcome.value) };
    case 'cancelled':
      return { state: 'cancelled', error: errorOf(outcome.value) };
    default:
      return { state: 'failed', error: errorOf(outcome?.value ?? statusOf(undefined)) };
  }
}

function childOutcome(uid: string, ended: Ended): ChildOutcome {
  if (ended.state === 'succeeded') {
    return { uid, state: JobState.SUCCEEDED, result: toText(ended.result, 'the result'), error: undefined };
  }
  const state = ended.state === 'cancelled' ? JobState.CANCELLED : JobState.FAILED;
  return { uid, state, result: '', error: statusOf(ended.error) };
}

/** Backoffs pass at once; everything else is the clock given. */
function quickClock(clock: Clock): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    sleep: (_ms, signal) => clock.sleep(0, signal),
    timer: (ms, fire) => clock.timer(ms, fire),
    every: (ms, fire) => clock.every(ms, fire),
  };
}
