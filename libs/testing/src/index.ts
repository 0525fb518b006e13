/** The surface of @nephos/testing. */

export { freePort } from '@nephos/service/testing';
export { finished, type PlatformApi, succeeded, until } from './api.ts';
export { type FailpointAction, FailpointControl, type Hit, type Rule } from './failpoints.ts';
export { type Ground, hostsUp, layGround, nameOf } from './ground.ts';
export { emptyQcow2, guestImage, type Qcow2Options } from './images.ts';
export {
  type Counter,
  type EventVerdict,
  type JudgeOptions,
  judgeEvents,
  type SeenEvent,
} from './oracle/judge.ts';
export { atRest, judge, type Verdict } from './oracle/oracle.ts';
export { readCounters, readDocuments } from './oracle/store-reader.ts';
export { readDirectoryCounters, readEvents } from './oracle/stream-reader.ts';
export { faultsOf, lookAtWorld, type World } from './oracle/world.ts';
export {
  builtInImage,
  type InProcessOptions,
  type Platform,
  type PlatformOptions,
  startPlatform,
  startPlatformProcesses,
} from './platform.ts';
export type { PlatformService, ServiceProcess } from './platform-service.ts';
export { type Definition, type ServiceName, serviceNames } from './services.ts';
