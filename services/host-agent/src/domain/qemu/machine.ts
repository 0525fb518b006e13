/**
 * What a machine of the QEMU driver is made of, and what stays the same over its life. Pure.
 * Pinned at the first boot and handed back at every later one: a guest must find the same machine, processor
 * and addresses whichever QEMU runs it, or it loses its disks' names and its licences.
 */
import { type FieldViolation, Invalid, Precondition } from '@nephos/service';

export interface MachineSpec {
  /** The VM's uid; also the machine's UUID. */
  readonly vmUid: string;
  /** The uid of this one run. */
  readonly incarnationUid: string;
  readonly generation: bigint;
  /** RFC 1123 label; the guest reads it from the firmware. */
  readonly hostname: string;
  readonly vcpus: number;
  /** A whole number of MiB. */
  readonly memoryBytes: bigint;
  /** In boot order; the first is the root disk. */
  readonly disks: readonly MachineDisk[];
  /** Empty at the first boot; then what `pin` returned. */
  readonly pinned: Readonly<Record<string, string>>;
}

export interface MachineDisk {
  readonly volumeUid: string;
  readonly readOnly: boolean;
  readonly image: DiskImage;
}

/** An image and all that lies under it, each with its format: QEMU probes none. */
export interface DiskImage {
  /** Absolute. */
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  readonly backing?: DiskImage;
}

/** Keys as the contract's `pinned` map has them. */
export interface Pinned {
  readonly machine_type: string;
  readonly cpu_model: string;
  /** Which PCI layout (`devices.ts`) the guest was first booted with. */
  readonly pci_layout: string;
}

/** Old enough for QEMU 7.2, common to Intel and AMD of the last decade, and complete under TCG. */
const atFirstBoot: Pinned = { machine_type: 'pc-q35-7.2', cpu_model: 'Nehalem-v1', pci_layout: '1' };

export const mostDisks = 8;
const mebibyte = 2n ** 20n;
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const hostnameLabel = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const machineType = /^pc-q35-\d+\.\d+$/;
const cpuModel = /^[A-Za-z0-9._-]+$/;

/** What is pinned for a spec. Throws `Precondition` for a layout of a newer agent. */
export function pin(pinned: Readonly<Record<string, string>>): Pinned {
  const all = { ...atFirstBoot, ...pinned };
  if (all.pci_layout !== atFirstBoot.pci_layout) {
    throw new Precondition('HYPERVISOR_FAILED', `This agent knows no PCI layout ${all.pci_layout}.`);
  }
  return { machine_type: all.machine_type, cpu_model: all.cpu_model, pci_layout: all.pci_layout };
}

/** Throws `Invalid` with every field that is wrong. What passes can be put on a command line as it is. */
export function requireValid(spec: MachineSpec): void {
  const fields: FieldViolation[] = [];
  const check = (right: boolean, field: string, description: string) => {
    if (!right) fields.push({ field: `machine.${field}`, description });
  };
  check(uuid.test(spec.vmUid), 'vm_uid', 'must be a lower-case UUID');
  check(uuid.test(spec.incarnationUid), 'incarnation_uid', 'must be a lower-case UUID');
  check(hostnameLabel.test(spec.hostname), 'hostname', 'must be a host name label (RFC 1123)');
  check(Number.isInteger(spec.vcpus) && spec.vcpus >= 1 && spec.vcpus <= 255, 'vcpus', 'must be 1 to 255');
  const wholeMebibytes = spec.memoryBytes > 0n && spec.memoryBytes % mebibyte === 0n;
  check(wholeMebibytes, 'memory_bytes', 'must be a whole number of MiB');
  check(spec.disks.length >= 1 && spec.disks.length <= mostDisks, 'disks', `must be 1 to ${mostDisks}`);
  const volumes = new Set(spec.disks.map((disk) => disk.volumeUid));
  check(volumes.size === spec.disks.length, 'disks', 'must not hold a volume twice');
  for (const [index, disk] of spec.disks.entries()) {
    check(uuid.test(disk.volumeUid), `disks[${index}].volume_uid`, 'must be a lower-case UUID');
    check(
      chain(disk.image).every(({ path }) => path.startsWith('/')),
      `disks[${index}]`,
      'needs absolute paths',
    );
  }
  check(machineType.test(pin(spec.pinned).machine_type), 'pinned', 'machine_type must be a versioned q35');
  check(cpuModel.test(pin(spec.pinned).cpu_model), 'pinned', 'cpu_model must be a model name alone');
  if (fields.length > 0) {
    throw new Invalid('FIELD_INVALID', `The machine cannot be run: ${fields[0]?.description}.`, { fields });
  }
}

/** The image, then what lies under it, downwards. */
export function chain(image: DiskImage): DiskImage[] {
  return [image, ...(image.backing ? chain(image.backing) : [])];
}
