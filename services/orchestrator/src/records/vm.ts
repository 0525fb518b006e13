/**
 * VMs as stored, and the public message they become. Writer: the projector (reconcile/projector.ts), through which
 * API, jobs and reconciler change a VM: intent and status are one document and one write.
 */
import { defineEntity, type EntityCollection } from '@nephos/events';
import {
  Power,
  PowerPolicy,
  VmStatus_State as State,
  Vm as VmMessage,
} from '@nephos/proto/nephos/orchestration/v1/vm';
import { enumOf, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';
import type { Vm, VmSpec, VmStatus } from '../domain/vm/vm.ts';

export type VmEntities = EntityCollection<Vm, VmMessage>;

const states = {
  pending: State.PENDING,
  starting: State.STARTING,
  running: State.RUNNING,
  stopping: State.STOPPING,
  stopped: State.STOPPED,
  unknown: State.UNKNOWN,
  deleted: State.DELETED,
  expunging: State.EXPUNGING,
  failed: State.FAILED,
} as const;

const powers = { on: Power.ON, off: Power.OFF } as const;

const policies = {
  follow: PowerPolicy.FOLLOW,
  enforce: PowerPolicy.ENFORCE,
  alert: PowerPolicy.ALERT,
} as const;

function specMessage(spec: VmSpec) {
  return {
    computeOffering: spec.computeOffering,
    vcpus: spec.vcpus,
    memoryBytes: BigInt(spec.memoryBytes),
    template: spec.template,
    rootVolumeSizeBytes: BigInt(spec.rootVolumeBytes),
    hostname: spec.hostname,
    desiredPower: enumOf(powers, spec.desiredPower),
    powerPolicy: enumOf(policies, spec.powerPolicy),
    host: spec.host,
  };
}

function statusMessage(status: VmStatus) {
  const { state, generation, bootTime, ...rest } = status;
  return {
    ...rest,
    state: enumOf(states, state),
    generation: BigInt(generation),
    bootTime: bootTime === undefined ? undefined : new Date(bootTime),
  };
}

/**
 * `display_name` binds while the name is taken: `nameKey` is missing in what is deleted. `purge` finds what is
 * deleted.
 */
export const vmEntity = defineEntity<Vm, VmMessage>({
  entity: 'vm',
  collection: 'vms',
  message: VmMessage,
  store: defineCollection<Vm>({
    name: 'vms',
    schemaVersion: 1,
    indexes: {
      display_name: { fields: ['nameKey'], unique: true },
      owner: { fields: ['header.owner'] },
      zone: { fields: ['header.zone'] },
      name: { fields: ['header.displayName'] },
      state: { fields: ['status.state'] },
      host: { fields: ['status.host'] },
      template: { fields: ['spec.template'] },
    },
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('vms', value.header, eventSeq),
    spec: specMessage(value.spec),
    status: statusMessage(value.status),
  }),
  place: ({ header }) => header,
});
