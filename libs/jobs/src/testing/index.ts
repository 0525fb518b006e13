/** The surface of @nephos/jobs/testing. */
export {
  crashEachStep,
  failEachStep,
  type HarnessRun,
  type MakeWorld,
  type OpenSagas,
  repeatEachStep,
  type Saga,
  saga,
  type World,
} from './harness.ts';
export { type Ended, type Fault, MemoryJob, type MemoryJobOptions } from './recorder.ts';
