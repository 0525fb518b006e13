/** The entity that is written: a VM as the orchestrator publishes it, of the same message and about the same size. */

import { defineEntity } from '@nephos/events';
import { Power, PowerPolicy, Vm, VmStatus_State } from '@nephos/proto/nephos/orchestration/v1/vm';
import { type HeaderRecord, headerMessage, newHeader, systemClock } from '@nephos/service';
import { uidOf } from './commands.ts';

export interface VmRecord {
  readonly header: HeaderRecord;
  readonly running: boolean;
  readonly generation: number;
}

export const vmEntity = defineEntity<VmRecord, Vm>({
  entity: 'vm',
  collection: 'vms',
  message: Vm,
  store: {
    name: 'vms',
    schemaVersion: 1,
    indexes: {
      byDisplayName: { fields: ['header.owner', 'header.zone', 'header.displayName'], unique: true },
    },
  },
  toMessage: ({ value, eventSeq }) =>
    Vm.create({
      header: headerMessage('vms', value.header, eventSeq),
      spec: {
        computeOffering: `computeOfferings/${uidOf(1)}`,
        vcpus: 2,
        memoryBytes: 2n ** 31n,
        template: `templates/${uidOf(2)}`,
        rootVolumeSizeBytes: 10n * 2n ** 30n,
        hostname: value.header.displayName,
        desiredPower: value.running ? Power.ON : Power.OFF,
        powerPolicy: PowerPolicy.FOLLOW,
      },
      status: {
        state: value.running ? VmStatus_State.RUNNING : VmStatus_State.STOPPED,
        host: `hosts/${uidOf(3)}`,
        rootVolume: `volumes/${value.header.uid}`,
        generation: BigInt(value.generation),
      },
    }),
  place: ({ header }) => ({ owner: header.owner, zone: header.zone }),
});

export function newVm(number: number): VmRecord {
  const named = { displayName: `vm-${number}`, owner: 'acme', zone: `zones/${uidOf(4)}` };
  const header = newHeader(
    uidOf(number),
    { ...named, labels: { tier: 'web', app: 'shop' }, annotations: {} },
    systemClock,
  );
  return { header, running: true, generation: 1 };
}

export function toggled(vm: VmRecord): VmRecord {
  return { ...vm, running: !vm.running, generation: vm.generation + 1 };
}
