/** OfferingService: sizes by name. Their numbers never change, so what was made from one needs no care. */
import {
  type ComputeOffering,
  type DiskOffering,
  OfferingServiceDefinition,
} from '@nephos/proto/nephos/orchestration/v1/offering';
import { type StandardParts, standardMethods } from '@nephos/resources';
import { type FieldViolation, type Implementation, refuseFields } from '@nephos/service';
import type { Inventory } from '../inventory.ts';

const MiB = 1024 * 1024;
const leastMemory = 32 * MiB;
const mostVcpus = 256;
const largest = 2 ** 52;

function computeFaults({ vcpus, memoryBytes }: ComputeOffering): FieldViolation[] {
  const faults: FieldViolation[] = [];
  if (vcpus < 1 || vcpus > mostVcpus) {
    faults.push({ field: 'compute_offering.vcpus', description: `must be 1 to ${mostVcpus}` });
  }
  const bytes = Number(memoryBytes);
  if (bytes < leastMemory || bytes > largest || bytes % MiB !== 0) {
    const description = 'must be a multiple of 1 MiB, at least 32 MiB';
    faults.push({ field: 'compute_offering.memory_bytes', description });
  }
  return faults;
}

function diskFaults({ sizeBytes }: DiskOffering): FieldViolation[] {
  const bytes = Number(sizeBytes);
  if (bytes >= MiB && bytes <= largest && bytes % MiB === 0) return [];
  return [{ field: 'disk_offering.size_bytes', description: 'must be a multiple of 1 MiB, at least 1 MiB' }];
}

export function offeringsApi(
  { computeOfferings, diskOfferings }: Inventory,
  parts: StandardParts,
): Implementation<typeof OfferingServiceDefinition> {
  const contract = OfferingServiceDefinition;
  return {
    ...standardMethods(
      {
        contract,
        kind: 'ComputeOffering',
        entity: computeOfferings,
        build: (message, header) => {
          refuseFields(computeFaults(message));
          return { header, vcpus: message.vcpus, memoryBytes: Number(message.memoryBytes) };
        },
      },
      parts,
    ),
    ...standardMethods(
      {
        contract,
        kind: 'DiskOffering',
        entity: diskOfferings,
        build: (message, header) => {
          refuseFields(diskFaults(message));
          return { header, sizeBytes: Number(message.sizeBytes) };
        },
      },
      parts,
    ),
  };
}
