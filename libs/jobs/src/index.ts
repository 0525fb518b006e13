/** The surface of @nephos/jobs. */
export type { JobClient, JobClientOptions, ListOptions, SubmitOptions } from './client.ts';
export { isOver, jobClient } from './client.ts';
export type {
  ChildHandle,
  ChildResults,
  JobContext,
  JobDefinition,
  JobEvents,
  JobOptions,
  RetryPolicy,
  StepOptions,
  StepScope,
} from './definition.ts';
export { defineJob } from './definition.ts';
export type { Executor, ExecutorOptions, JobControlSource } from './executor/executor.ts';
export { startExecutor } from './executor/executor.ts';
export { operationName, operationOf, operationUid } from './operation.ts';
