/** ReadVmConsole: forwards what the host's agent keeps of the serial console. Nothing is kept here. */
import type { ReadVmConsoleRequest, ReadVmConsoleResponse } from '@nephos/proto/nephos/orchestration/v1/vm';
import { type Call, Precondition, parseResourceName } from '@nephos/service';
import type { AgentLinks } from '../ports.ts';
import type { Projector } from '../reconcile/projector.ts';

export async function* readVmConsole(
  projector: Projector,
  links: Pick<AgentLinks, 'hypervisor'>,
  { name, offset, follow }: ReadVmConsoleRequest,
  call: Call,
): AsyncIterable<ReadVmConsoleResponse> {
  const vmUid = parseResourceName('vms', name);
  const { value: vm } = await projector.get(vmUid);
  if (vm.hostUid === undefined) {
    const description = 'it was never placed on a host: there is no console';
    throw new Precondition('STATE_FORBIDS', `${name}: ${description}`, {
      preconditions: [{ type: 'STATE_FORBIDS', subject: name, description }],
    });
  }
  const { client, host } = await links.hypervisor(vm.hostUid);
  yield* client.readConsole({ host, vmUid, offset, follow }, { signal: call.signal });
}
