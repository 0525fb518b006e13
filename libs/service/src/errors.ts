/**
 * The few errors that anything may throw. Domain, jobs and adapters speak only of these; one file at the
 * edge (status.ts) turns them into gRPC statuses and back. Reasons are stable and documented in
 * proto/nephos/common/v1/error.proto; clients switch on the reason, people read the message.
 */
import type { ErrorReason } from '@nephos/proto/nephos/common/v1/error';

export type Reason = Exclude<keyof typeof ErrorReason, 'UNRECOGNIZED' | 'UNSPECIFIED'>;

/** A field of the request that was refused. `field` is its path in the request, e.g. `vm.spec.vcpus`. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** Why the state of things refuses the call: `type` is a reason, `subject` the resource name. */
export interface PreconditionViolation {
  readonly type: string;
  readonly subject: string;
  readonly description: string;
}

export interface ErrorDetails {
  /** Facts for programs, e.g. `{ rejected: '3', reason: 'memory' }`. Never secrets. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fields?: readonly FieldViolation[];
  readonly preconditions?: readonly PreconditionViolation[];
  /** How long the caller should wait before trying again. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

export type ErrorKind =
  | 'not-found'
  | 'already-exists'
  | 'conflict'
  | 'invalid'
  | 'precondition'
  | 'unavailable'
  | 'denied'
  | 'unauthenticated'
  | 'exhausted'
  | 'out-of-range'
  | 'cancelled'
  | 'deadline'
  | 'unimplemented'
  | 'internal';

export abstract class NephosError extends Error {
  abstract readonly kind: ErrorKind;
  readonly reason: Reason;
  readonly details: ErrorDetails;

  constructor(reason: Reason, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.reason = reason;
    this.details = details;
  }
}

/** The thing named is not there. */
export class NotFound extends NephosError {
  override readonly kind = 'not-found';
}

/** A thing of that name or id is there already. */
export class AlreadyExists extends NephosError {
  override readonly kind = 'already-exists';
}

/** Another change came first: read again and retry (AIP-154: `ABORTED`). */
export class Conflict extends NephosError {
  override readonly kind = 'conflict';
}

/** The request is wrong whatever the state of things; `fields` says where. */
export class Invalid extends NephosError {
  override readonly kind = 'invalid';
}

/** The request is right but the state of things forbids it now. */
export class Precondition extends NephosError {
  override readonly kind = 'precondition';
}

/** A part is out of reach; the same call may be retried. */
export class Unavailable extends NephosError {
  override readonly kind = 'unavailable';
}

/** The caller may not do this. */
export class Denied extends NephosError {
  override readonly kind = 'denied';
}

/** The caller did not say who it is in a way that could be believed. */
export class Unauthenticated extends NephosError {
  override readonly kind = 'unauthenticated';
}

/** A limit is reached: capacity, a quota, a queue. */
export class Exhausted extends NephosError {
  override readonly kind = 'exhausted';
}

/** The position asked for is no longer (or not yet) held, e.g. `RESYNC_REQUIRED`. */
export class OutOfRange extends NephosError {
  override readonly kind = 'out-of-range';
}

/** The caller, or an operator, asked for it to stop. */
export class Cancelled extends NephosError {
  override readonly kind = 'cancelled';
}

/** The caller's time was up. */
export class DeadlineExceeded extends NephosError {
  override readonly kind = 'deadline';
}

/** Nothing here serves that. */
export class Unimplemented extends NephosError {
  override readonly kind = 'unimplemented';
}

/** A fault of ours. Its cause is logged and never sent. */
export class Internal extends NephosError {
  override readonly kind = 'internal';
}
