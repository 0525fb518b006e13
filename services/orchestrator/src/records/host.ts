/**
 * Hosts as stored. Writers: the host API (header, admin), the agent links (link, facts) and the host projector
 * (allocated), each by compare-and-set on fields of its own.
 */
import { defineEntity } from '@nephos/events';
import {
  HostStatus_Admin as Admin,
  HostStatus_Health as Health,
  Host,
  HostStatus_Link as Link,
} from '@nephos/proto/nephos/orchestration/v1/host';
import { enumOf, type HeaderRecord, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';
import type { Amounts, HostView } from '../domain/planner/host-view.ts';
import { headerIndexes } from './indexes.ts';

export interface HostRecord {
  readonly header: HeaderRecord;
  /** `clusters/{uid}`. */
  readonly cluster: string;
  readonly agentId: string;
  /** The host's name within its agent. */
  readonly agentHost: string;
  readonly link: HostView['link'];
  readonly admin: HostView['admin'];
  readonly health: HostView['health'];
  /** Why it is cordoned, in the operator's words. */
  readonly adminReason: string;
  /** Raised with each new session of the agent. */
  readonly sessionEpoch: number;
  /** The term of the instance that wrote its link last; see ports.ts. Missing until then. */
  readonly observerEpoch?: number;
  readonly facts: HostFacts;
  /** How often a ledger was opened for it; see adapters/host-ledger.ts. */
  readonly ledgersOpened?: number;
  readonly allocated: Amounts;
  readonly vmCount: number;
  readonly unmanaged: readonly { readonly uid: string; readonly message: string }[];
  /** When its agent was last heard as of the last change of the link: RFC 3339, to the minute; absent until first seen. */
  readonly lastSeenTime?: string;
}

/** What the agent told of the host; zeros until it did. */
export interface HostFacts {
  readonly capacity: Amounts;
  readonly hypervisor: string;
  readonly accelerator: string;
  readonly architecture: string;
}

const linkMessages = {
  connecting: Link.CONNECTING,
  up: Link.UP,
  silent: Link.SILENT,
  disconnected: Link.DISCONNECTED,
} as const;

const adminMessages = {
  enabled: Admin.ENABLED,
  cordoned: Admin.CORDONED,
  draining: Admin.DRAINING,
  'drain-blocked': Admin.DRAIN_BLOCKED,
  maintenance: Admin.MAINTENANCE,
  removed: Admin.REMOVED,
} as const;

const healthMessages = {
  healthy: Health.HEALTHY,
  suspect: Health.SUSPECT,
  fencing: Health.FENCING,
  fenced: Health.FENCED,
  recovering: Health.RECOVERING,
} as const;

function resourcesMessage({ vcpus, memoryBytes, diskBytes }: Amounts) {
  return { cpus: vcpus, memoryBytes: BigInt(memoryBytes), diskBytes: BigInt(diskBytes) };
}

/** Why the host is not up, enabled and healthy, for people. */
export function reasonsOf({ link, admin, adminReason, health, header }: HostRecord): string[] {
  const reasons: string[] = [];
  if (link === 'connecting') reasons.push(`its agent has not been seen since ${header.createTime}`);
  if (link === 'silent') reasons.push('its agent fell silent; its VMs are presumed to run on');
  if (link === 'disconnected') reasons.push('its agent is away; the state of its VMs is not known');
  if (admin !== 'enabled')
    reasons.push(`${admin} by an operator${adminReason === '' ? '' : `: ${adminReason}`}`);
  if (health !== 'healthy') reasons.push(`health is ${health}`);
  return reasons;
}

export const hostEntity = defineEntity({
  entity: 'host',
  collection: 'hosts',
  message: Host,
  store: defineCollection<HostRecord>({
    name: 'hosts',
    schemaVersion: 1,
    indexes: {
      ...headerIndexes,
      cluster: { fields: ['cluster'] },
      agent: { fields: ['agentId', 'agentHost'], unique: true },
      link: { fields: ['link'] },
      admin: { fields: ['admin'] },
    },
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('hosts', value.header, eventSeq),
    cluster: value.cluster,
    agentId: value.agentId,
    agentHost: value.agentHost,
    status: {
      link: enumOf(linkMessages, value.link),
      admin: enumOf(adminMessages, value.admin),
      health: enumOf(healthMessages, value.health),
      sessionEpoch: BigInt(value.sessionEpoch),
      capacity: resourcesMessage(value.facts.capacity),
      allocated: resourcesMessage(value.allocated),
      hypervisor: value.facts.hypervisor,
      accelerator: value.facts.accelerator,
      architecture: value.facts.architecture,
      reasons: reasonsOf(value),
      unmanagedMachines: value.unmanaged.map(({ uid, message }) => ({ machineUid: uid, message })),
      lastSeenTime: value.lastSeenTime === undefined ? undefined : new Date(value.lastSeenTime),
      vmCount: value.vmCount,
    },
  }),
  place: ({ header }) => header,
});
