/** VolumeService: volumes are made and removed by the jobs of their VMs; here they are read. */
import { VolumeServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/volume';
import { headerFields, type StandardParts, standardMethods } from '@nephos/resources';
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

export function volumesApi(
  volumes: VolumeEntities,
  parts: StandardParts,
): Implementation<typeof VolumeServiceDefinition> {
  return standardMethods(
    { contract: VolumeServiceDefinition, kind: 'Volume', entity: volumes, fields },
    parts,
  );
}
