/**
 * How an instance reaches the agent of a host, whichever instance observes it. Owner: each orchestrator its own. A host
 * that was added through another instance a moment ago is looked up in the store.
 */
import { HypervisorServiceDefinition } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import { type Clients, NotFound, type ServiceContract } from '@nephos/service';
import type { HostEndpoint, HostLink } from '../ports.ts';
import type { Fleet } from './fleet.ts';

export class HostEndpoints {
  readonly #fleet: Fleet;
  readonly #clients: Clients;

  constructor(fleet: Fleet, clients: Clients) {
    this.#fleet = fleet;
    this.#clients = clients;
  }

  hypervisor(hostUid: string): Promise<HostEndpoint<typeof HypervisorServiceDefinition>> {
    return this.#endpoint(HypervisorServiceDefinition, hostUid);
  }

  storage(hostUid: string): Promise<HostEndpoint<typeof StorageServiceDefinition>> {
    return this.#endpoint(StorageServiceDefinition, hostUid);
  }

  linkOf(hostUid: string): HostLink {
    return this.#fleet.record(hostUid)?.link ?? 'disconnected';
  }

  async linkNow(hostUid: string): Promise<HostLink> {
    await this.#fleet.catchUp([hostUid]);
    return this.linkOf(hostUid);
  }

  async #endpoint<Contract extends ServiceContract>(
    contract: Contract,
    hostUid: string,
  ): Promise<HostEndpoint<Contract>> {
    if (this.#fleet.record(hostUid) === undefined) await this.#fleet.catchUp([hostUid]);
    const record = this.#fleet.record(hostUid);
    if (record === undefined) throw new NotFound('RESOURCE_NOT_FOUND', `there is no host hosts/${hostUid}`);
    const client = this.#clients.of(contract, 'host-agent', { labels: { agent: record.agentId } });
    return { client, host: record.agentHost };
  }
}
