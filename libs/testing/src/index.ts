/** The surface of @nephos/testing. */
export { finished, type PlatformApi, succeeded, until } from './api.ts';
export { type Ground, hostsUp, layGround, nameOf } from './ground.ts';
export { emptyQcow2, guestImage, type Qcow2Options } from './images.ts';
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
