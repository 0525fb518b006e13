/** The surface of @nephos/plugin. */
export type { ConsolePiece, HypervisorDriver, StorageDriver, TemplateImage, VolumeSpec } from './drivers.ts';
export { FenceGuard, type Guard } from './fence-guard.ts';
export { KeyedQueue } from './keyed-queue.ts';
export { ObservationLog } from './observation-log.ts';
export { type HypervisorParts, serveHypervisor } from './serve-hypervisor.ts';
export { type StorageParts, serveStorage } from './serve-storage.ts';
