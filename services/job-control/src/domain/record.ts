/**
 * A job as it is stored, and each change that can befall it, as pure functions from record to record.
 * Owner: job-control; the one writer is the owner of the job's partition, under its epoch.
 * Invariants: a job that is not over is in exactly one lane; that an executor holds it is not stored (a running
 * job stands in the ready lane), so a step-less job costs two writes. A crash leaves the last record: whoever owns
 * the partition next goes on from it.
 */
import type { HeaderRecord } from '@nephos/service';
import { type Lane, laneOf } from './lane.ts';

/** `queued` covers running: see the invariants. */
export type StoredState =
  | 'queued'
  | 'suspended'
  | 'unwinding'
  | 'blocked'
  | 'succeeded'
  | 'failed'
  | 'cancelled';

export type BlockReason = 'version-mismatch' | 'step-mismatch' | 'undo-failed' | 'executors-lost';

export type EventLevel = 'all' | 'outcome' | 'none';

/** An error: a google.rpc.Status, encoded, in base64; the text beside it is for whoever looks into the store. */
export interface ErrorRecord {
  readonly message: string;
  readonly status: string;
}

/** A step on record. Inputs and results are JSON text, '' for none. */
export interface StepRecord {
  readonly name: string;
  readonly position: number;
  readonly input: string;
  readonly result: string;
  readonly error?: ErrorRecord;
  readonly attempt: number;
  readonly undone?: boolean;
  /** Milliseconds since 1970, the executor's wall clock: for people. */
  readonly startedAt: number;
  readonly endedAt: number;
}

/** Ordered by epoch, then token. */
export interface Fence {
  readonly epoch: number;
  readonly token: number;
}

export function isAbove(fence: Fence, other: Fence | undefined): boolean {
  if (other === undefined) return true;
  return fence.epoch > other.epoch || (fence.epoch === other.epoch && fence.token > other.token);
}

export interface JobRecord {
  readonly header: HeaderRecord;
  readonly type: string;
  readonly version: number;
  readonly state: StoredState;
  readonly partition: number;
  /** Of the partition's owner at the time of the last write or adoption. */
  readonly epoch: number;
  /** Where it waits and in which place; none once it is over. */
  readonly lane?: string | undefined;
  readonly order?: number | undefined;
  readonly root: string;
  readonly parent?: string | undefined;
  /** The root's resource name: index of the tree. */
  readonly tree: string;
  readonly target?: string | undefined;
  /** JSON text of an object. */
  readonly input: string;
  readonly timeoutMs: number;
  readonly level: EventLevel;
  readonly principal: string;
  readonly onBehalfOf: string;
  readonly requestId: string;
  readonly traceparent: string;
  /** Who held it under this fence or a lower one holds it no more. */
  readonly fence?: Fence | undefined;
  /** Tries since a step was recorded that are over. */
  readonly attempt: number;
  /** Executors lost with it since a step was recorded. */
  readonly losses?: number | undefined;
  /**
   * Who may be running it in spite of a change of owner: the executor that held it when its partition was handed
   * over, or `anybody` where the former owner did not say. Undefined once this owner has assigned it.
   */
  readonly heldBy?: string | undefined;
  /** It may have started before, so that it cannot end without asking an executor. */
  readonly mayHaveRun?: boolean | undefined;
  /** Milliseconds since 1970. */
  readonly startedAt?: number | undefined;
  readonly endedAt?: number | undefined;
  /** Since its first start, on the owners' monotonic clocks. */
  readonly elapsedMs?: number | undefined;
  readonly backoffMs?: number | undefined;
  readonly nextAttemptAt?: number | undefined;
  readonly steps?: readonly StepRecord[] | undefined;
  readonly progress?: { readonly percent: number; readonly message: string } | undefined;
  readonly result?: string | undefined;
  readonly error?: ErrorRecord | undefined;
  readonly cancelRequested?: boolean | undefined;
  readonly unwind?: { readonly error: ErrorRecord; readonly cancelled: boolean } | undefined;
  /** Steps whose undo is given up. */
  readonly skipSteps?: readonly string[] | undefined;
  /** Recorded steps are matched by name alone. */
  readonly lenient?: boolean | undefined;
  /** Uids of jobs that must be over before it is assigned again. */
  readonly waits?: readonly string[] | undefined;
  readonly children?: readonly string[] | undefined;
  readonly block?:
    | { readonly reason: BlockReason; readonly message: string; readonly at: number }
    | undefined;
  /** Root jobs that are over: when, for retention. */
  readonly expiry?: number | undefined;
  /** Why somebody might look for it: blocked, failed, cancelled. */
  readonly trouble?: 'blocked' | 'failed' | 'cancelled' | undefined;
}

export function isOver({ state }: Pick<JobRecord, 'state'>): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'cancelled';
}

/** Nobody knows who. */
export const anybody = '?';

/**
 * Taken over by the owner of a newer epoch. `handed`: the owner before wrote down who held what. Where it is not known
 * whether the owner before had assigned the job, executors of still earlier epochs count as holding it no more.
 */
export function adopted(record: JobRecord, epoch: number, handed: boolean): JobRecord {
  const isReady = record.lane?.startsWith('ready/') === true;
  const told = handed && record.epoch === epoch - 1;
  const heldBy = told ? record.heldBy : isReady ? (record.heldBy ?? anybody) : undefined;
  const last = { epoch: record.epoch, token: 0 };
  const wasAssigned = !told || record.heldBy !== anybody;
  const fence = wasAssigned && isAbove(last, record.fence) ? last : record.fence;
  const mayHaveRun = record.mayHaveRun === true || isReady;
  return { ...record, epoch, heldBy, ...(fence && { fence }), ...(mayHaveRun && { mayHaveRun }) };
}

/** An executor was lost with it. */
export function lostOnce(record: JobRecord): JobRecord {
  return { ...record, losses: (record.losses ?? 0) + 1, mayHaveRun: true };
}

/** In what lane it waits; undefined once it is over. */
function placed(record: JobRecord, lane: Lane, order: number): JobRecord {
  return { ...record, lane: laneOf(lane, record.partition, record.type), order, heldBy: undefined };
}

/** Back among those that wait for an executor. */
export function ready(record: JobRecord, order: number): JobRecord {
  const state = record.unwind === undefined ? 'queued' : 'unwinding';
  return placed(
    { ...record, state, nextAttemptAt: undefined, backoffMs: undefined, waits: undefined },
    'ready',
    order,
  );
}

export function withStep(record: JobRecord, step: StepRecord, version: number): JobRecord {
  const others = (record.steps ?? []).filter(({ name }) => name !== step.name);
  const steps = [...others, step].sort((a, b) => a.position - b.position);
  const forwards = record.unwind === undefined ? { error: undefined, losses: undefined } : {};
  return { ...record, ...forwards, version, steps, attempt: 0, mayHaveRun: true };
}

/** How much the steps on record hold, in characters of JSON text. */
export function stepText({ steps = [] }: JobRecord): number {
  return steps.reduce((text, { input, result }) => text + input.length + result.length, 0);
}

export function withChild(record: JobRecord, uid: string): JobRecord {
  return { ...record, children: [...(record.children ?? []), uid], mayHaveRun: true };
}

/** Waits for other jobs; `dueAt` is when it times out meanwhile. */
export function suspended(record: JobRecord, waits: readonly string[], dueAt: number): JobRecord {
  const state = record.unwind === undefined ? 'suspended' : 'unwinding';
  return placed({ ...record, state, waits, attempt: 0, mayHaveRun: true }, 'suspended', dueAt);
}

/**
 * How long it has been asleep at `now`, in milliseconds; both are wall times of the owner that gave out its order, who
 * rewrites it when it takes the job over. A blocked job's time stands still, so that it can be resumed.
 */
export function sleptMs(record: JobRecord, now: number): number {
  const { lane, order, unwind, timeoutMs, elapsedMs = 0, backoffMs = 0 } = record;
  if (lane === undefined || order === undefined) return 0;
  if (lane.startsWith('delayed/')) return Math.max(0, now - (order - backoffMs));
  const bounded = lane.startsWith('suspended/') && unwind === undefined;
  return bounded ? Math.max(0, now - (order - (timeoutMs - elapsedMs))) : 0;
}

/** Tried again at `at`, wall time of the writer. */
export function delayed(record: JobRecord, error: ErrorRecord, backoffMs: number, at: number): JobRecord {
  const attempt = record.attempt + 1;
  return placed({ ...record, error, attempt, backoffMs, nextAttemptAt: at, mayHaveRun: true }, 'delayed', at);
}

/** From here on it only undoes. */
export function unwinding(record: JobRecord, error: ErrorRecord, cancelled: boolean): JobRecord {
  const free = { block: undefined, trouble: undefined, nextAttemptAt: undefined };
  return { ...record, ...free, state: 'unwinding', error, unwind: { error, cancelled }, mayHaveRun: true };
}

export function blocked(record: JobRecord, reason: BlockReason, message: string, at: number): JobRecord {
  const block = { reason, message, at };
  return placed({ ...record, state: 'blocked', block, trouble: 'blocked', mayHaveRun: true }, 'blocked', at);
}

/** Out of being blocked, on to what it was doing. */
export function resumed(record: JobRecord, order: number): JobRecord {
  const free = { block: undefined, trouble: undefined, losses: undefined };
  return ready({ ...record, ...free, lenient: true, attempt: 0 }, order);
}

/** How a job ended. */
export type Ending =
  | { readonly state: 'succeeded'; readonly result: string }
  | { readonly state: 'failed' | 'cancelled'; readonly error: ErrorRecord };

/** What a job that is over has no more. Set, not deleted: this is the hot path, and undefined is not stored. */
const nothing = {
  heldBy: undefined,
  lane: undefined,
  order: undefined,
  waits: undefined,
  block: undefined,
  unwind: undefined,
  nextAttemptAt: undefined,
  backoffMs: undefined,
} as const;

export function over(record: JobRecord, ending: Ending, at: number): JobRecord {
  const expiry = record.parent === undefined ? at : undefined;
  const done = { ...record, ...nothing, expiry, endedAt: at };
  if (ending.state !== 'succeeded')
    return { ...done, state: ending.state, error: ending.error, trouble: ending.state };
  return { ...done, state: 'succeeded', result: ending.result, error: undefined, trouble: undefined };
}
