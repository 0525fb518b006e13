/** The surface of @nephos/idempotency. */
export {
  type ChangedEntity,
  type Remembering,
  type RemovalDefinition,
  removing,
  type UpdateDefinition,
  updating,
  wasApplied,
  withApplied,
} from './changes.ts';
export type {
  Accepted,
  Caller,
  Idempotency,
  IdempotencyOptions,
  IdempotentMethod,
  MethodDefinition,
  Round,
} from './idempotency.ts';
export { goneSince, openIdempotency } from './idempotency.ts';
export type { AnsweredRequest, RequestRecord } from './record.ts';
export { sweepRequests } from './sweeper.ts';
