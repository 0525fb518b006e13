/** Volumes as stored, and the public message they become. Writers: the jobs of the VM they belong to. */
import { defineEntity, type EntityCollection } from '@nephos/events';
import {
  Volume_Kind as Kind,
  Volume_State as State,
  Volume as VolumeMessage,
} from '@nephos/proto/nephos/orchestration/v1/volume';
import { enumOf, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';
import type { Volume } from '../domain/volume/volume.ts';

export type VolumeEntities = EntityCollection<Volume, VolumeMessage>;

const states = {
  allocated: State.ALLOCATED,
  creating: State.CREATING,
  ready: State.READY,
  faulted: State.FAULTED,
  trashed: State.TRASHED,
  expunging: State.EXPUNGING,
  expunged: State.EXPUNGED,
} as const;

const kinds = { root: Kind.ROOT, data: Kind.DATA } as const;

export const volumeEntity = defineEntity<Volume, VolumeMessage>({
  entity: 'volume',
  collection: 'volumes',
  message: VolumeMessage,
  store: defineCollection<Volume>({
    name: 'volumes',
    schemaVersion: 1,
    indexes: {
      owner: { fields: ['header.owner'] },
      zone: { fields: ['header.zone'] },
      name: { fields: ['header.displayName'] },
      state: { fields: ['state'] },
      host: { fields: ['host'] },
      vm: { fields: ['vm'] },
    },
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('volumes', value.header, eventSeq),
    kind: enumOf(kinds, value.kind),
    state: enumOf(states, value.state),
    sizeBytes: BigInt(value.sizeBytes),
    template: value.template,
    host: value.host,
    vm: value.vm,
  }),
  place: ({ header }) => header,
});
