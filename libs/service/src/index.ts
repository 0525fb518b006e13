/** The surface of @nephos/service. */
export type { Clock } from './clock.ts';
export { offsetClock, systemClock } from './clock.ts';
export type { ErrorDetails, ErrorKind, FieldViolation, PreconditionViolation, Reason } from './errors.ts';
export {
  AlreadyExists,
  Cancelled,
  Conflict,
  DeadlineExceeded,
  Denied,
  Exhausted,
  Internal,
  Invalid,
  NephosError,
  NotFound,
  OutOfRange,
  Precondition,
  Unauthenticated,
  Unavailable,
} from './errors.ts';
export { isUid, newUid } from './uid.ts';
