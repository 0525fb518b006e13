/** HostService. A host lies in a cluster and is served by an agent; its ledger comes after it and goes before it. */
import { type Host, HostServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/host';
import { findResource, headerFields, type StandardParts, standardMethods } from '@nephos/resources';
import {
  AlreadyExists,
  type FieldViolation,
  type HeaderRecord,
  type Implementation,
  refuseFields,
  touched,
} from '@nephos/service';
import { enumField, type ListFields } from '@nephos/store';
import type { Fleet } from '../adapters/fleet.ts';
import { closeLedger, openLedger } from '../adapters/host-ledger.ts';
import type { Amounts } from '../domain/planner/host-view.ts';
import type { Inventory } from '../inventory.ts';
import type { HostRecord } from '../records/host.ts';
import { referred, zoneWithin } from './references.ts';

const nothing: Amounts = { vcpus: 0, memoryBytes: 0, diskBytes: 0 };
const agentWord = /^[A-Za-z0-9._-]{1,128}$/;
const longestReason = 1024;

const fields: ListFields = {
  agent_id: { path: 'agentId', type: 'string' },
  cluster: { path: 'cluster', type: 'string' },
  link: enumField('link', ['connecting', 'up', 'silent', 'disconnected']),
  admin: enumField('admin', ['enabled', 'cordoned', 'draining', 'drain-blocked', 'maintenance', 'removed']),
  ...headerFields,
};

export interface HostsApiParts extends StandardParts {
  readonly inventory: Inventory;
  readonly fleet: Fleet;
  readonly links: { hostsChanged(): void };
}

function newHost(header: HeaderRecord, { cluster, agentId, agentHost }: Host): HostRecord {
  return {
    header,
    cluster,
    agentId,
    agentHost,
    link: 'connecting',
    admin: 'enabled',
    health: 'healthy',
    adminReason: '',
    sessionEpoch: 0,
    facts: { capacity: nothing, hypervisor: '', accelerator: '', architecture: '' },
    allocated: nothing,
    vmCount: 0,
    unmanaged: [],
  };
}

function hostFaults({ agentId, agentHost }: Host): FieldViolation[] {
  const description = 'must be 1 to 128 letters, digits, `.`, `_` and `-`';
  return [
    ...(agentWord.test(agentId) ? [] : [{ field: 'host.agent_id', description }]),
    ...(agentWord.test(agentHost) ? [] : [{ field: 'host.agent_host', description }]),
  ];
}

function standardHosts({ inventory, fleet, links, ...parts }: HostsApiParts) {
  const { clusters, hosts, ledgers } = inventory;
  return standardMethods(
    {
      contract: HostServiceDefinition,
      kind: 'Host',
      entity: hosts,
      fields,
      build: async (message, header) => {
        refuseFields(hostFaults(message));
        const cluster = await referred(clusters, message.cluster, 'host.cluster');
        const { agentId, agentHost } = message;
        const same = await hosts.find({ where: { agentId, agentHost }, orderBy: 'agent', limit: 1 });
        const [there] = same.items;
        if (there !== undefined) {
          const text = `hosts/${there.id} is host ${agentHost} of agent ${agentId} already`;
          throw new AlreadyExists('RESOURCE_EXISTS', text, { metadata: { resource: `hosts/${there.id}` } });
        }
        return newHost(zoneWithin(header, cluster.value.header, 'host.header.zone'), message);
      },
      inserted: ({ id }) => openLedger(inventory, id),
      usedBy: async (uid) => {
        const claims = await closeLedger(inventory, uid);
        return claims > 0 ? `${claims} VMs placed on it` : undefined;
      },
      notRemoved: (uid) => openLedger(inventory, uid),
      written: async (stored) => {
        const ledger = await ledgers.get(stored.id);
        if (ledger === undefined) return;
        const known = fleet.record(stored.id) !== undefined;
        fleet.added(stored, ledger);
        if (!known) links.hostsChanged();
      },
      removed: (uid) => {
        fleet.removed(uid);
        links.hostsChanged();
      },
    },
    parts,
  );
}

export function hostsApi(parts: HostsApiParts): Implementation<typeof HostServiceDefinition> {
  const { inventory, fleet, clock } = parts;
  const { hosts } = inventory;
  const setAdmin = async (name: string, admin: HostRecord['admin'], adminReason: string) => {
    const { id } = await findResource(hosts, name);
    const stored = await hosts.modify(id, (host) =>
      host.admin === admin && host.adminReason === adminReason
        ? undefined
        : { ...host, admin, adminReason, header: touched(host.header, clock) },
    );
    fleet.hostChanged(stored);
    return hosts.message(stored);
  };
  return {
    ...standardHosts(parts),
    cordonHost: ({ name, reason }) => {
      if (reason.length > longestReason) {
        refuseFields([{ field: 'reason', description: `at most ${longestReason} characters` }]);
      }
      return setAdmin(name, 'cordoned', reason);
    },
    uncordonHost: ({ name }) => setAdmin(name, 'enabled', ''),
  };
}
