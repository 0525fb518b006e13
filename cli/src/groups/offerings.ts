/** `nephos compute-offerings` and `nephos disk-offerings`. */
import {
  ComputeOffering,
  DiskOffering,
  OfferingServiceDefinition,
} from '@nephos/proto/nephos/orchestration/v1/offering';
import type { Command } from 'commander';
import { createdColumn, nameColumn, sizeColumn, uidColumn } from '../columns.ts';
import { addDelete, addReading, bytesOf, positive, printOne, type ResourceKind } from '../resource.ts';
import type { Session } from '../session.ts';

export const computeOfferingKind: ResourceKind<ComputeOffering> = {
  word: 'offering',
  collection: 'computeOfferings',
  columns: [
    nameColumn,
    { title: 'VCPUS', path: 'vcpus' },
    sizeColumn('MEMORY', 'memoryBytes'),
    createdColumn,
    uidColumn,
  ],
  async list(platform, { filter, pageSize, pageToken }) {
    const offerings = await platform.client(OfferingServiceDefinition, 'orchestrator');
    const page = await offerings.listComputeOfferings({ filter, pageSize, pageToken });
    return { items: page.computeOfferings, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(OfferingServiceDefinition, 'orchestrator')).getComputeOffering({ name }),
  toJson: (offering) => ComputeOffering.toJSON(offering),
};

const diskOfferingKind: ResourceKind<DiskOffering> = {
  word: 'offering',
  collection: 'diskOfferings',
  columns: [nameColumn, sizeColumn('SIZE', 'sizeBytes'), createdColumn, uidColumn],
  async list(platform, { filter, pageSize, pageToken }) {
    const offerings = await platform.client(OfferingServiceDefinition, 'orchestrator');
    const page = await offerings.listDiskOfferings({ filter, pageSize, pageToken });
    return { items: page.diskOfferings, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(OfferingServiceDefinition, 'orchestrator')).getDiskOffering({ name }),
  toJson: (offering) => DiskOffering.toJSON(offering),
};

export function addOfferings(program: Command, session: Session): void {
  addComputeOfferings(program, session);
  addDiskOfferings(program, session);
}

function addComputeOfferings(program: Command, session: Session): void {
  const group = program
    .command('compute-offerings')
    .description('sizes of VMs')
    .addHelpText('after', '\nExamples:\n  nephos compute-offerings create large --vcpus 4 --memory 8GiB');
  addReading(group, session, computeOfferingKind);
  group
    .command('create')
    .description('create a size of VMs')
    .argument('<name>', 'its display name')
    .requiredOption('--vcpus <number>', 'virtual CPUs')
    .requiredOption('--memory <size>', 'e.g. 512MiB')
    .action(async (displayName: string, options: { readonly vcpus: string; readonly memory: string }) => {
      const offerings = await session.platform.client(OfferingServiceDefinition, 'orchestrator');
      const computeOffering = {
        header: { displayName },
        vcpus: positive('--vcpus', options.vcpus),
        memoryBytes: bytesOf('--memory', options.memory),
      };
      printOne(session, computeOfferingKind, await offerings.createComputeOffering({ computeOffering }));
    });
  addDelete(group, session, computeOfferingKind, async (platform, name) =>
    (await platform.client(OfferingServiceDefinition, 'orchestrator')).deleteComputeOffering({ name }),
  );
}

function addDiskOfferings(program: Command, session: Session): void {
  const group = program
    .command('disk-offerings')
    .description('sizes of volumes')
    .addHelpText('after', '\nExamples:\n  nephos disk-offerings create hundred --size 100GiB');
  addReading(group, session, diskOfferingKind);
  group
    .command('create')
    .description('create a size of volumes')
    .argument('<name>', 'its display name')
    .requiredOption('--size <size>', 'e.g. 20GiB')
    .action(async (displayName: string, options: { readonly size: string }) => {
      const offerings = await session.platform.client(OfferingServiceDefinition, 'orchestrator');
      const diskOffering = { header: { displayName }, sizeBytes: bytesOf('--size', options.size) };
      printOne(session, diskOfferingKind, await offerings.createDiskOffering({ diskOffering }));
    });
  addDelete(group, session, diskOfferingKind, async (platform, name) =>
    (await platform.client(OfferingServiceDefinition, 'orchestrator')).deleteDiskOffering({ name }),
  );
}
