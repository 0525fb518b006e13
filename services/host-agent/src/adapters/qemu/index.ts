/** The surface of the QEMU adapter: what the rest of the host agent may use of it. */
export type { DiskImage, MachineDisk, MachineSpec } from '../../domain/qemu/machine.ts';
export type { MachineCause, MachineObservation, MachineState } from '../../domain/qemu/observation.ts';
export type { QemuDriverOptions, RebootOptions, StopOptions } from './driver.ts';
export { QemuDriver } from './driver.ts';
export { hasMachines } from './machine-folder.ts';
export type { ProbeOptions, QemuInstallation } from './probe.ts';
export { probeQemu } from './probe.ts';
export type { SerialPiece } from './serial-log.ts';
