/** OfferingService: sizes by name. Their numbers never change, so what was made from one needs no care. */
import type { Idempotency } from '@nephos/idempotency';
import {
  ComputeOffering,
  DiskOffering,
  type OfferingServiceDefinition,
} from '@nephos/proto/nephos/orchestration/v1/offering';
import { type Clock, type FieldViolation, type Implementation, refuseFields } from '@nephos/service';
import type { Inventory } from '../inventory.ts';
import type { ComputeOfferingRecord, DiskOfferingRecord } from '../records/offering.ts';
import { headerChangeable, headerFields, SimpleApi } from './simple-resource.ts';

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

const unused = () => Promise.resolve(undefined);

function computeApi({ computeOfferings }: Inventory, idempotency: Idempotency, clock: Clock) {
  return new SimpleApi<ComputeOfferingRecord, ComputeOffering>(
    {
      entity: computeOfferings,
      contract: 'nephos.orchestration.v1.OfferingService',
      kind: 'ComputeOffering',
      codec: ComputeOffering,
      fields: headerFields,
      changeable: headerChangeable,
      build: (message, header) => {
        refuseFields(computeFaults(message));
        return { header, vcpus: message.vcpus, memoryBytes: Number(message.memoryBytes) };
      },
      change: (record) => record,
      usedBy: unused,
    },
    idempotency,
    clock,
  );
}

function diskApi({ diskOfferings }: Inventory, idempotency: Idempotency, clock: Clock) {
  return new SimpleApi<DiskOfferingRecord, DiskOffering>(
    {
      entity: diskOfferings,
      contract: 'nephos.orchestration.v1.OfferingService',
      kind: 'DiskOffering',
      codec: DiskOffering,
      fields: headerFields,
      changeable: headerChangeable,
      build: (message, header) => {
        refuseFields(diskFaults(message));
        return { header, sizeBytes: Number(message.sizeBytes) };
      },
      change: (record) => record,
      usedBy: unused,
    },
    idempotency,
    clock,
  );
}

export function offeringsApi(
  inventory: Inventory,
  idempotency: Idempotency,
  clock: Clock,
): Implementation<typeof OfferingServiceDefinition> {
  const compute = computeApi(inventory, idempotency, clock);
  const disk = diskApi(inventory, idempotency, clock);
  return {
    createComputeOffering: ({ computeOffering }, call) => compute.create(computeOffering, call),
    getComputeOffering: ({ name }) => compute.get(name),
    listComputeOfferings: async (request) => {
      const { messages: computeOfferings, nextPageToken } = await compute.list(request);
      return { computeOfferings, nextPageToken };
    },
    updateComputeOffering: ({ computeOffering, updateMask }, call) =>
      compute.update(computeOffering, updateMask, call),
    deleteComputeOffering: async ({ name, etag }, call) => {
      await compute.remove(name, etag, call);
      return {};
    },
    createDiskOffering: ({ diskOffering }, call) => disk.create(diskOffering, call),
    getDiskOffering: ({ name }) => disk.get(name),
    listDiskOfferings: async (request) => {
      const { messages: diskOfferings, nextPageToken } = await disk.list(request);
      return { diskOfferings, nextPageToken };
    },
    updateDiskOffering: ({ diskOffering, updateMask }, call) => disk.update(diskOffering, updateMask, call),
    deleteDiskOffering: async ({ name, etag }, call) => {
      await disk.remove(name, etag, call);
      return {};
    },
  };
}
