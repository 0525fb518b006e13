/** The surface of @nephos/service. */
export type { Address, Labels } from './address.ts';
export { callTarget, formatAddress, hostAndPort } from './address.ts';
export type { Around, Call, CallOptions, Invocation } from './call.ts';
export type { CalleeCount, ServedCount } from './call-counts.ts';
export { type Clients, openClients, type TargetOptions } from './clients.ts';
export type { Clock } from './clock.ts';
export { offsetClock, systemClock } from './clock.ts';
export type { CommonConfig, ConfigOf } from './common-config.ts';
export type { ConfigField, ConfigSchema, ConfigValues, Environment } from './config.ts';
export { config, parseConfig } from './config.ts';
export type { Origin } from './context.ts';
export { currentCall, currentOrigin, currentTraceparent, runAs } from './context.ts';
export type {
  Client,
  DeepPartial,
  Implementation,
  MessageOf,
  MessageType,
  ServiceContract,
} from './contract.ts';
export { durationMs, durationOf } from './duration.ts';
export { enumOf } from './enum-of.ts';
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
  Unimplemented,
} from './errors.ts';
export type { FailpointFacts } from './failpoint.ts';
export { failpoint } from './failpoint.ts';
export type { FilterClause, FilterCondition, FilterField, FilterFields } from './filter.ts';
export { parseFilter, whereOf } from './filter.ts';
export type { HeaderInput, HeaderRecord } from './header.ts';
export { headerMessage, newHeader, touched } from './header.ts';
export type { Lifecycle, LifecycleState } from './lifecycle.ts';
export type { LineSink, Logger, LogOptions } from './log.ts';
export { createLog } from './log.ts';
export { metadataKeys } from './metadata.ts';
export type { PageBounds } from './page.ts';
export { pageSizeOf, pageTokenOf, readPageToken } from './page.ts';
export {
  checkAnnotations,
  checkDisplayName,
  checkEtag,
  checkHeader,
  checkLabels,
  checkOwner,
  etagOf,
  fieldInvalid,
  notFound,
  parseResourceName,
  refuseFields,
} from './resource.ts';
export type { Backoff, RetryOptions } from './retry.ts';
export { pauseAfter, retry } from './retry.ts';
export { run } from './run.ts';
export { Secret, withoutUrlSecrets } from './secret.ts';
export { sentToMany } from './sent-to-many.ts';
export type { RpcServer } from './server.ts';
export { maxMessageBytes } from './server.ts';
export type {
  RunningService,
  ServiceContext,
  ServiceDefinition,
  StartOptions,
  StopOptions,
} from './service.ts';
export { defineService } from './service.ts';
export { startService } from './start.ts';
export { asNephosError, fromStatus, fromStatusMessage, toStatus, toStatusMessage } from './status.ts';
export { isUid, newUid } from './uid.ts';
export { applyUpdateMask, updatePaths } from './update-mask.ts';
