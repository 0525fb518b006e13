/**
 * What a run needs of whoever keeps its record: job control through the executor's stream, or a test's memory.
 * Invariant: a promise that resolved stands for something recorded. One that never settles means that the job
 * was taken away or put to sleep: nothing of this run may go on.
 */
import type { Status } from '@nephos/proto/google/rpc/status';
import type { ChildOutcome, JobFinished, RecordedStep } from '@nephos/proto/nephos/jobs/v1/executor';
import type { JobBlockReason, NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';

export interface JobLedger {
  readonly fence: { readonly epoch: bigint; readonly token: string };
  stepStarted(name: string): void;
  /** A try that will be followed by another. */
  stepFailed(name: string, error: Status): void;
  recordStep(step: RecordedStep): Promise<void>;
  undoStarted(name: string): void;
  recordUndone(step: RecordedStep): Promise<void>;
  progress(percent: number, message: string): void;
  annotate(step: string, text: string): void;
  /** Idempotent on the child's uid. Rejects when the child cannot be taken. */
  submitChild(job: NewJob): Promise<void>;
  /** Outcomes in the order asked for, once all are over. */
  awaitChildren(uids: readonly string[]): Promise<readonly ChildOutcome[]>;
  /** From here on the job only undoes. Resolves once its children are over too. */
  beginUnwinding(error: Status, cancelled: boolean): Promise<void>;
}

/** How one run of a job ended. */
export type RunOutcome =
  | { readonly kind: 'finished'; readonly finished: JobFinished }
  | { readonly kind: 'retry'; readonly error: Status; readonly backoffMs: number }
  | { readonly kind: 'blocked'; readonly reason: JobBlockReason; readonly message: string };
