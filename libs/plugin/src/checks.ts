/** What every plugin's edge checks: hosts it knows, well-formed ids, bounded sizes. All faults at once. */
import type { MachineSpec } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { type FieldViolation, isUid, NotFound, refuseFields } from '@nephos/service';

const MiB = 2 ** 20;
const bounds = { vcpus: 256, memoryBytes: 2 ** 46, disks: 26, graceMs: 15 * 60_000 } as const;
/** RFC 1123. */
const hostnameForm = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function checkHost(host: string, known: readonly { readonly host: string }[]): void {
  if (known.some((each) => each.host === host)) return;
  throw new NotFound(
    'RESOURCE_NOT_FOUND',
    `this agent serves no host ${JSON.stringify(host.slice(0, 128))}`,
    {
      metadata: {
        hosts: known
          .slice(0, 10)
          .map((each) => each.host)
          .join(', '),
      },
    },
  );
}

export function checkUids(uids: Readonly<Record<string, string>>): void {
  refuseFields(
    Object.entries(uids).flatMap(([field, uid]) =>
      isUid(uid) ? [] : [{ field, description: 'must be a UUIDv7' } satisfies FieldViolation],
    ),
  );
}

/** An idempotency key: opaque, the same in each retry. */
export function checkKey(field: string, key: string): void {
  if (key.length >= 1 && key.length <= 128) return;
  refuseFields([{ field, description: 'must be 1 to 128 characters' }]);
}

export function checkGrace(graceMs: number): void {
  if (graceMs >= 0 && graceMs <= bounds.graceMs) return;
  refuseFields([{ field: 'grace', description: 'must be 0 to 15 minutes' }]);
}

export function checkMachine(machine: MachineSpec | undefined): asserts machine is MachineSpec {
  if (machine === undefined) {
    refuseFields([{ field: 'machine', description: 'is required' }]);
    return;
  }
  const { vcpus, hostname, disks } = machine;
  const memoryBytes = Number(machine.memoryBytes);
  const faults: FieldViolation[] = [];
  const fault = (field: string, description: string) =>
    faults.push({ field: `machine.${field}`, description });
  if (!isUid(machine.vmUid)) fault('vm_uid', 'must be a UUIDv7');
  if (!isUid(machine.incarnationUid)) fault('incarnation_uid', 'must be a UUIDv7');
  if (vcpus < 1 || vcpus > bounds.vcpus) fault('vcpus', `must be 1 to ${bounds.vcpus}`);
  if (memoryBytes < MiB || memoryBytes > bounds.memoryBytes || memoryBytes % MiB !== 0) {
    fault('memory_bytes', 'must be a multiple of 1 MiB');
  }
  if (!hostnameForm.test(hostname)) fault('hostname', 'must be an RFC 1123 label');
  if (disks.length === 0 || disks.length > bounds.disks) fault('disks', `must be 1 to ${bounds.disks}`);
  for (const [index, { volumeUid }] of disks.entries()) {
    if (!isUid(volumeUid)) fault(`disks[${index}].volume_uid`, 'must be a UUIDv7');
  }
  refuseFields(faults);
}
