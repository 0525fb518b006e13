/** A job in memory: the record as it is being written, the record as it is stored, and what is stored nowhere. */

import { JobStepState } from '@nephos/proto/nephos/jobs/v1/jobs';
import type { Stored } from '@nephos/store';
import type { ErrorRecord, JobRecord } from '../domain/record.ts';
import type { LiveFacts, StepUnderWay } from '../domain/view.ts';
import type { Session } from './session.ts';

/** The executor that holds it, and the token that its reports must carry. */
export interface Holder {
  readonly session: Session;
  readonly token: number;
}

const noSteps: ReadonlyMap<string, StepUnderWay> = new Map();

export class LiveJob {
  readonly uid: string;
  /** With all changes, also those on their way to the store. */
  record: JobRecord;
  /** As the store has it: the only thing that is shown. */
  stored: Stored<JobRecord>;
  /** Of the last write asked for. */
  revision: number;
  eventSeq: number;
  holder: Holder | undefined;
  /** Who held it when the stream broke, until the grace is over. */
  lostBy: { readonly executor: string; readonly token: number } | undefined;
  /** Who held it last in this epoch, once nobody does. */
  former: { readonly executor: string; readonly token: number; readonly unwound: boolean } | undefined;
  /** Requests for it that have not got it into their hands yet; it stays in memory until then. */
  pins = 0;
  /** Somebody let go of it meanwhile. */
  unwanted = false;
  /** The last token given out for it in this epoch. */
  lastToken: number | undefined;
  /** Its holder was told that it is late. */
  toldLate = false;
  /** It stands in a queue in memory. */
  queued = false;
  /** It was assigned while in memory here. */
  dispatched = false;
  progress: { readonly percent: number; readonly message: string } | undefined;
  #steps: Map<string, StepUnderWay> | undefined;
  #startedAt: number | undefined;
  #startedMonotonic = 0;
  #elapsedBefore = 0;

  constructor(stored: Stored<JobRecord>) {
    this.uid = stored.id;
    this.record = stored.value;
    this.stored = stored;
    this.revision = stored.revision;
    this.eventSeq = stored.eventSeq;
  }

  /** The clock of the job's time-out runs from the first start in this process on, plus what is on record. */
  start(now: number, monotonic: number): void {
    this.dispatched = true;
    if (this.#startedAt !== undefined) return;
    this.#startedAt = this.record.startedAt ?? now;
    this.#startedMonotonic = monotonic;
    this.#elapsedBefore = this.record.elapsedMs ?? 0;
  }

  elapsedMs(monotonic: number): number {
    if (this.#startedAt === undefined) return this.record.elapsedMs ?? 0;
    return this.#elapsedBefore + monotonic - this.#startedMonotonic;
  }

  leftMs(monotonic: number): number {
    return this.record.timeoutMs - this.elapsedMs(monotonic);
  }

  /** The record with what memory knows better. */
  completed(record: JobRecord, updateTime: string, monotonic: number): JobRecord {
    const { progress } = this;
    return {
      ...record,
      ...(this.dispatched && { heldBy: undefined }),
      header: { ...record.header, updateTime },
      ...(this.#startedAt !== undefined && {
        startedAt: this.#startedAt,
        elapsedMs: Math.round(this.elapsedMs(monotonic)),
      }),
      ...(progress !== undefined && { progress }),
      // Written while nobody holds it: whoever held it last must not be taken for its holder after a crash.
      ...(this.holder === undefined &&
        this.lastToken !== undefined && { fence: { epoch: record.epoch, token: this.lastToken } }),
    };
  }

  step(name: string, state: JobStepState, at: number, error?: ErrorRecord): void {
    this.#steps ??= new Map();
    this.#steps.set(name, { state, startedAt: at, ...(error && { error }) });
  }

  stepOver(name: string): void {
    this.#steps?.delete(name);
  }

  /** No executor holds it any more: nothing of it is under way. */
  release(): void {
    this.holder = undefined;
    this.#steps = undefined;
  }

  facts(now: number, monotonic: number): LiveFacts {
    const started = this.#startedAt !== undefined || this.record.startedAt !== undefined;
    return {
      executor: this.holder?.session.executor,
      steps: this.#steps ?? noSteps,
      progress: this.progress,
      deadline: started ? new Date(now + this.leftMs(monotonic)) : undefined,
    };
  }
}
