/**
 * The exact QEMU arguments for a machine. Pure: `test/golden` holds specs beside their arguments, so that every
 * change is seen in review. A machine starts stopped (`-S`) and is let go over its monitor; a guest's power-off
 * leaves it paused (`-action shutdown=pause`), so that it can still be seen when the agent was away.
 */
import {
  disks,
  escaped,
  hotPlugPorts,
  type MachinePaths,
  monitors,
  randomNumbers,
  serial,
  video,
} from './devices.ts';
import { type MachineSpec, pin, requireValid } from './machine.ts';

export type Accelerator = 'kvm' | 'tcg';

/** How a process is known for one of ours; `owned` in processes.ts of the adapter reads it back. */
export const processNamePrefix = 'nephos-';

/** Translated code that a TCG guest may keep, so that a host's memory can be counted on. */
const translationCacheMebibytes = 128;

const seccomp = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/** Throws `Invalid` for a spec that cannot be run. */
export function commandLine(spec: MachineSpec, paths: MachinePaths, accelerator: Accelerator): string[] {
  requireValid(spec);
  const pinned = pin(spec.pinned);
  return [
    ...['-name', `guest=${processNamePrefix}${spec.hostname},debug-threads=on`],
    ...['-uuid', spec.vmUid],
    ...['-nodefaults', '-no-user-config'],
    ...['-machine', `${pinned.machine_type},usb=off,dump-guest-core=off`],
    ...['-accel', accelerator === 'kvm' ? 'kvm' : `tcg,thread=multi,tb-size=${translationCacheMebibytes}`],
    // Enforced: another processor than the pinned one must not be slipped in.
    ...['-cpu', `${pinned.cpu_model},enforce`],
    ...['-smp', `cpus=${spec.vcpus},sockets=1,cores=${spec.vcpus},threads=1`],
    ...['-m', `size=${spec.memoryBytes / 2n ** 20n}M`],
    ...['-rtc', 'base=utc'],
    ...['-boot', 'strict=on'],
    ...['-S', '-action', 'reboot=reset,shutdown=pause,panic=pause,watchdog=reset'],
    ...['-sandbox', seccomp],
    ...['-msg', 'timestamp=on'],
    ...['-pidfile', paths.pidFile],
    ...firmwareFacts(spec),
    ...monitors(paths),
    ...serial(paths),
    ...video(paths),
    ...randomNumbers(),
    ...hotPlugPorts(),
    ...disks(spec.disks),
  ];
}

/** In the form that cloud-init's NoCloud source reads from SMBIOS: needs neither network nor another disk. */
function firmwareFacts(spec: MachineSpec): string[] {
  const serialNumber = `ds=nocloud;h=${spec.hostname};i=${spec.vmUid}`;
  return [
    '-smbios',
    `type=1,manufacturer=Nephos,product=VM,serial=${escaped(serialNumber)},uuid=${spec.vmUid}`,
  ];
}
