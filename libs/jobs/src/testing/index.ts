/** The surface of @nephos/jobs/testing. */
export {
  crashEachStep,
  failEachStep,
  type HarnessRun,
  type MakeWorld,
  repeatEachStep,
  type World,
} from './harness.ts';
export { type Ended, type Fault, MemoryJob, type MemoryJobOptions } from './recorder.ts';
