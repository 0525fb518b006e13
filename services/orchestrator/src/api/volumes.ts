/** VolumeService: volumes are made and removed by the jobs of their VMs; here they are read. */
import type { VolumeServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/volume';
import { type Implementation, notFound, parseResourceName } from '@nephos/service';
import { enumField, type ListFields, listPage } from '@nephos/store';
import type { VolumeEntities } from '../records/volume.ts';
import { headerFields } from './simple-resource.ts';

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
    getVolume: async ({ name }) => {
      const uid = parseResourceName('volumes', name);
      const stored = await volumes.get(uid);
      if (!stored) throw notFound('volumes', uid);
      return volumes.message(stored);
    },
    listVolumes: async (request) => {
      const { indexes } = volumes.definition.store;
      const { items, nextPageToken } = await listPage(volumes, request, { indexes, fields });
      return { volumes: items.map((stored) => volumes.message(stored)), nextPageToken };
    },
  };
}
