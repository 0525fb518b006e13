/** `nephos volumes`. */
import { Volume, VolumeServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/volume';
import type { Command } from 'commander';
import { createdColumn, enumColumn, nameColumn, referenceWord, sizeColumn, uidColumn } from '../columns.ts';
import { addReading, type ResourceKind } from '../resource.ts';
import type { Session } from '../session.ts';

const volumeKind: ResourceKind<Volume> = {
  word: 'volume',
  collection: 'volumes',
  columns: [
    nameColumn,
    enumColumn('KIND', 'kind'),
    enumColumn('STATE', 'state'),
    sizeColumn('SIZE', 'sizeBytes'),
    { title: 'VM', path: 'vm', format: referenceWord },
    createdColumn,
    uidColumn,
  ],
  async list(platform, { filter, pageSize, pageToken }) {
    const volumes = await platform.client(VolumeServiceDefinition, 'orchestrator');
    const page = await volumes.listVolumes({ filter, pageSize, pageToken });
    return { items: page.volumes, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(VolumeServiceDefinition, 'orchestrator')).getVolume({ name }),
  toJson: (volume) => Volume.toJSON(volume),
};

export function addVolumes(program: Command, session: Session): void {
  const group = program
    .command('volumes')
    .description('volumes: the disks of VMs')
    .addHelpText('after', '\nExamples:\n  nephos volumes list --filter \'state = "READY"\'');
  addReading(group, session, volumeKind);
}
