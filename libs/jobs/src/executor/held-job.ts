/**
 * A job in an executor's hands: its ledger is the stream to job control.
 * Invariants: a report that wants an acknowledgement is kept and sent again under the current token until it has
 * one; once the job is dropped (refused, revoked, suspended) none of its promises settles any more, so that the
 * run stops where it stands. A crash of the process loses only what was not acknowledged.
 */
import type { Status } from '@nephos/proto/google/rpc/status';
import type {
  ChildOutcome,
  JobAssignment,
  JobReport,
  RecordedStep,
  ReportAck,
} from '@nephos/proto/nephos/jobs/v1/executor';
import type { NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Conflict, Internal } from '@nephos/service';
import type { JobLedger, RunOutcome } from '../run/ledger.ts';
import { errorOf } from '../status.ts';

/** Where reports go: a live stream. */
export interface ReportSink {
  report(report: JobReport): void;
}

type Body = NonNullable<JobReport['report']>;
type Answer = NonNullable<ReportAck['outcome']>;

interface Pending {
  readonly body: Body;
  readonly answer: (answer: Answer) => void;
}

export interface HeldJobOptions {
  readonly sink: ReportSink;
  /** The definition's version, recorded with each step. */
  readonly version: number;
  /** Numbers the reports of this process. */
  nextId(): number;
  /** Called once when the job is no longer this executor's. */
  onDrop(job: HeldJob): void;
}

/** Longer notes are cut: a log line is for people. */
const longestNote = 1024;
const mostWords = 256;

export class HeldJob implements JobLedger {
  readonly uid: string;
  /** Of its partition; 0 where job control does not tell. */
  readonly partition: number;
  readonly stop = new AbortController();
  readonly #pending = new Map<number, Pending>();
  readonly #version: number;
  readonly #nextId: HeldJobOptions['nextId'];
  readonly #onDrop: HeldJobOptions['onDrop'];
  #sink: ReportSink | undefined;
  #epoch: bigint;
  #token: bigint;
  #dropped = false;
  /** Steps on record, as far as this run knows. */
  readonly #known = new Set<string>();
  #unwinds: boolean;
  /** The run is over, and what it gave is not an end of the job. */
  #gaveUp = false;

  constructor(assigned: JobAssignment, options: HeldJobOptions) {
    this.uid = assigned.uid;
    this.partition = assigned.partition;
    this.#epoch = assigned.epoch;
    this.#token = assigned.token;
    this.#sink = options.sink;
    this.#unwinds = assigned.unwind !== undefined;
    for (const step of assigned.steps) this.#known.add(keyOf(step));
    this.#version = options.version;
    this.#nextId = options.nextId;
    this.#onDrop = options.onDrop;
  }

  get fence(): { readonly epoch: bigint; readonly token: string } {
    return { epoch: this.#epoch, token: String(this.#token) };
  }

  get held(): { readonly uid: string; readonly epoch: bigint; readonly token: bigint } {
    return { uid: this.uid, epoch: this.#epoch, token: this.#token };
  }

  get epoch(): bigint {
    return this.#epoch;
  }

  get dropped(): boolean {
    return this.#dropped;
  }

  /** True when no live stream stands for it. */
  get orphaned(): boolean {
    return this.#sink === undefined;
  }

  heldBy(sink: ReportSink): boolean {
    return this.#sink === sink;
  }

  /** Nothing is on record that this run does not know: it may go on in place of the one assigned. */
  covers({ steps, unwind }: JobAssignment): boolean {
    if (this.#dropped || this.#gaveUp || this.#unwinds !== (unwind !== undefined)) return false;
    return steps.every((step) => this.#known.has(keyOf(step)));
  }

  /**
   * The job stays here under this fence; what was not acknowledged is sent again. A lower epoch's word is void.
   * It is sent under new numbers: an answer to what was said under the former token may be on its way still, and one
   * that the job sleeps would end the run that it was woken for.
   */
  adopt(sink: ReportSink, epoch: bigint, token: bigint): void {
    if (epoch < this.#epoch) return;
    this.#sink = sink;
    this.#epoch = epoch;
    this.#token = token;
    const again = [...this.#pending.values()];
    this.#pending.clear();
    for (const pending of again) {
      const reportId = this.#nextId();
      this.#pending.set(reportId, pending);
      this.#send(reportId, pending.body);
    }
  }

  detach(): void {
    this.#sink = undefined;
  }

  /** Nothing of this run may go on: the job is another's, or sleeps. */
  drop(reason: string): void {
    if (this.#dropped) return;
    this.#letGo();
    this.stop.abort(new Conflict('FENCED', reason));
  }

  acknowledge(ack: ReportAck): void {
    const pending = this.#pending.get(ack.reportId);
    if (pending === undefined || ack.outcome === undefined) return;
    this.#pending.delete(ack.reportId);
    switch (ack.outcome.$case) {
      case 'refused':
        return this.drop(ack.outcome.value.message);
      case 'suspended':
        return this.drop('the job waits');
      default:
        pending.answer(ack.outcome);
    }
  }

  stepStarted(name: string): void {
    this.#tell({ $case: 'stepStarted', value: { name } });
  }

  stepFailed(name: string, error: Status): void {
    this.#tell({ $case: 'stepFailed', value: { name, error } });
  }

  undoStarted(name: string): void {
    this.#tell({ $case: 'undoStarted', value: { name } });
  }

  progress(percent: number, message: string): void {
    this.#tell({ $case: 'progress', value: { percent, message: message.slice(0, mostWords) } });
  }

  annotate(step: string, text: string): void {
    this.#tell({ $case: 'annotation', value: { step, text: text.slice(0, longestNote) } });
  }

  async recordStep(step: RecordedStep): Promise<void> {
    this.#known.add(keyOf(step));
    await this.#ask({ $case: 'stepFinished', value: { step, definitionVersion: this.#version } });
  }

  async recordUndone(step: RecordedStep): Promise<void> {
    this.#known.add(keyOf(step));
    await this.#ask({ $case: 'stepUndone', value: { step } });
  }

  async submitChild(job: NewJob): Promise<void> {
    await this.#ask({ $case: 'child', value: { job } });
  }

  async awaitChildren(uids: readonly string[]): Promise<readonly ChildOutcome[]> {
    const answer = await this.#ask({ $case: 'wait', value: { uids: [...uids] } });
    if (answer.$case !== 'children')
      throw new Internal('INTERNAL', `job control answered ${answer.$case} to a wait`);
    return answer.value.outcomes;
  }

  async beginUnwinding(error: Status, cancelled: boolean): Promise<void> {
    this.#unwinds = true;
    await this.#ask({ $case: 'unwinding', value: { error, cancelled } });
  }

  /** Tells how the run ended; resolves once that is on record. */
  async conclude(outcome: RunOutcome): Promise<void> {
    this.#gaveUp = outcome.kind !== 'finished';
    switch (outcome.kind) {
      case 'finished':
        await this.#ask({ $case: 'finished', value: outcome.finished });
        break;
      case 'retry': {
        const backoff = BigInt(Math.round(outcome.backoffMs));
        await this.#ask({ $case: 'retry', value: { error: outcome.error, backoff } });
        break;
      }
      case 'blocked':
        await this.#ask({ $case: 'blocked', value: { reason: outcome.reason, message: outcome.message } });
    }
    if (!this.#dropped) this.#letGo();
  }

  #letGo(): void {
    this.#dropped = true;
    this.#pending.clear();
    this.#onDrop(this);
  }

  #tell(body: Body): void {
    if (!this.#dropped) this.#send(0, body);
  }

  async #ask(body: Body): Promise<Answer> {
    const answer = await new Promise<Answer>((resolve) => {
      if (this.#dropped) return;
      const reportId = this.#nextId();
      this.#pending.set(reportId, { body, answer: resolve });
      this.#send(reportId, body);
    });
    if (answer.$case === 'error') throw errorOf(answer.value);
    return answer;
  }

  #send(reportId: number, report: Body): void {
    this.#sink?.report({ uid: this.uid, token: this.#token, reportId, report });
  }
}

function keyOf({ name, undone }: RecordedStep): string {
  return `${undone ? 'undone' : 'done'} ${name}`;
}
