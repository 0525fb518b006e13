/** The surface of @nephos/jobs. */
export type {
  ChildHandle,
  ChildResults,
  JobContext,
  JobDefinition,
  JobOptions,
  RetryPolicy,
  StepOptions,
  StepScope,
} from './definition.ts';
export { defineJob } from './definition.ts';
