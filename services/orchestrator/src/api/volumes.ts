/** VolumeService: volumes are made and removed by the jobs of their VMs; here they are read. */
import type { VolumeServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/volume';
import { getResource, headerFields, listResources } from '@nephos/resources';
import type { Implementation } from '@nephos/service';
import { enumField, type ListFields } from '@nephos/store';
import type { VolumeEntities } from '../records/volume.ts';

const states = ['allocated', 'creating', 'ready', 'faulted', 'trashed', 'expunging', 'expunged'];

const fields: ListFields = {
  vm: { path: 'vm', type: 'string' },
  display_name: headerFields.display_name,
  host: { path: 'host', type: 'string' },
  owner: headerFields.owner,
  state: enumField('state', states),
  zone: headerFields.zone,
};

export function volumesApi(volumes: VolumeEntities): Implementation<typeof VolumeServiceDefinition> {
  return {
    getVolume: (request) => getResource(volumes, request),
    listVolumes: async (request) => {
      const { messages, nextPageToken } = await listResources(volumes, request, fields);
      return { volumes: messages, nextPageToken };
    },
  };
}
