/** VmService: reading here; creating, changing and the verbs in files of their own. */
import type { VmServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/vm';
import {
  DeleteVmRequest,
  ExpungeVmRequest,
  RebootVmRequest,
  StartVmRequest,
  StopVmRequest,
  UndeleteVmRequest,
} from '@nephos/proto/nephos/orchestration/v1/vm';
import { headerFields } from '@nephos/resources';
import { fieldInvalid, type Implementation, parseResourceName } from '@nephos/service';
import { enumField, type ListFields, listPage } from '@nephos/store';
import type { Vm } from '../domain/vm/vm.ts';
import type { AgentLinks } from '../ports.ts';
import { readVmConsole } from './console.ts';
import { CreateVm, type CreateVmParts } from './create-vm.ts';
import { type OperateVmParts, operateVm } from './operate-vm.ts';
import { UpdateVm, type UpdateVmParts } from './update-vm.ts';

export interface VmsApiParts extends CreateVmParts, OperateVmParts, UpdateVmParts {
  readonly links: Pick<AgentLinks, 'hypervisor'>;
}

const states = [
  'pending',
  'starting',
  'running',
  'stopping',
  'stopped',
  'unknown',
  'deleted',
  'expunging',
  'failed',
];

const fields: ListFields = {
  display_name: headerFields.display_name,
  host: { path: 'status.host', type: 'string' },
  owner: headerFields.owner,
  template: { path: 'spec.template', type: 'string' },
  state: enumField('status.state', states),
  zone: headerFields.zone,
  labels: headerFields.labels,
};

const notDeleted = { key: 'not-deleted', matches: (vm: Vm) => vm.phase !== 'deleted' };
const grace = { standardMs: 60_000, mostMs: 15 * 60_000 };

/** How long a guest may take, milliseconds. */
function graceOf({ force, grace: asked }: StopVmRequest): number {
  if (force) return 0;
  if (asked === undefined) return grace.standardMs;
  const ms = Number(asked.seconds) * 1000 + Math.floor(asked.nanos / 1_000_000);
  if (ms < 0 || ms > grace.mostMs) throw fieldInvalid('grace', 'has to be 0 to 15 minutes');
  return ms;
}

export function vmsApi(parts: VmsApiParts): Implementation<typeof VmServiceDefinition> {
  const { vms, projector, links } = parts;
  const creation = new CreateVm(parts);
  const update = new UpdateVm(parts);
  return {
    createVm: (request, call) => creation.create(request, call),
    getVm: async ({ name }) => vms.message(await projector.get(parseResourceName('vms', name))),
    listVms: async (request) => {
      const { indexes } = vms.definition.store;
      const hidden = request.showDeleted ? {} : { where: notDeleted };
      const page = await listPage(vms, request, { indexes, fields, ...hidden });
      return { vms: page.items.map((stored) => vms.message(stored)), nextPageToken: page.nextPageToken };
    },
    updateVm: (request, call) => update.update(request, call),
    startVm: operateVm(parts, { kind: 'vm.start', method: 'StartVm', codec: StartVmRequest }),
    stopVm: operateVm(parts, {
      kind: 'vm.stop',
      method: 'StopVm',
      codec: StopVmRequest,
      inputOf: (request) => ({ graceMs: graceOf(request) }),
    }),
    rebootVm: operateVm(parts, { kind: 'vm.reboot', method: 'RebootVm', codec: RebootVmRequest }),
    deleteVm: operateVm(parts, { kind: 'vm.delete', method: 'DeleteVm', codec: DeleteVmRequest }),
    undeleteVm: operateVm(parts, { kind: 'vm.undelete', method: 'UndeleteVm', codec: UndeleteVmRequest }),
    expungeVm: operateVm(parts, { kind: 'vm.expunge', method: 'ExpungeVm', codec: ExpungeVmRequest }),
    readVmConsole: (request, call) => readVmConsole(projector, links, request, call),
  };
}
