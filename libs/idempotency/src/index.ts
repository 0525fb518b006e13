/** The surface of @nephos/idempotency. */
export type {
  Accepted,
  Caller,
  Idempotency,
  IdempotencyOptions,
  IdempotentMethod,
  MethodDefinition,
} from './idempotency.ts';
export { openIdempotency } from './idempotency.ts';
export type { RequestRecord } from './record.ts';
export { sweepRequests } from './sweeper.ts';
