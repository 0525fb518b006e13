/**
 * How calls fare, per service: at the caller, whom it called; at the server, what it served. Two additions a call,
 * so they are always on; telemetry tells more where it is asked for. Totals of this process: a crash loses them.
 */
import type { NephosError } from './errors.ts';

/** Calls to one service, by its name in the directory. */
export interface CalleeCount {
  readonly service: string;
  /** Unary calls that ended, one that was tried again once, and streams that began. */
  readonly calls: number;
  /** Those that the callee or the way to it failed; what a callee refused is no failure. */
  readonly failures: number;
  readonly since: Date;
}

/** Calls of one contract that this server has answered. */
export interface ServedCount {
  /** The contract's full name. */
  readonly contract: string;
  readonly calls: number;
  /** Those that this service failed; what it refused is no failure. */
  readonly failures: number;
  /** How long they took together, milliseconds. */
  readonly busyMs: number;
}

export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export type CallTally = Mutable<Pick<CalleeCount, 'calls' | 'failures'>> & { readonly since: Date };

/** Whether an error is the fault of whoever was called. */
export function isFailure(error: NephosError): boolean {
  return error.kind === 'unavailable' || error.kind === 'deadline' || error.kind === 'internal';
}
