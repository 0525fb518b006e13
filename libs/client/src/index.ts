/** The surface of @nephos/client. */
export { ConsoleCleaner } from './console-text.ts';
export {
  defaultDataFolder,
  type Endpoints,
  findEndpoints,
  readEndpoints,
  removeEndpoints,
  writeEndpoints,
} from './endpoints.ts';
export { isServing } from './health.ts';
export { finishedJob, finishedOperation, isOver, jobNameOf, type WatchOptions } from './jobs.ts';
export { connectPlatform, type Platform, type PlatformAddress, type PlatformOptions } from './platform.ts';
export { durationText, enumText, eventText, sizeText } from './text.ts';
