/** ClusterService. A cluster lies in a pod; its overcommit ratios hold for the ledgers of its hosts. */
import { ClusterServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/cluster';
import { headerFields, type StandardParts, standardMethods } from '@nephos/resources';
import { type FieldViolation, type Implementation, refuseFields } from '@nephos/service';
import type { Fleet } from '../adapters/fleet.ts';
import { applyOvercommit } from '../adapters/overcommit.ts';
import type { Inventory } from '../inventory.ts';
import type { ClusterRecord } from '../records/cluster.ts';
import { referred, zoneWithin } from './references.ts';

const bounds = {
  cpu: { field: 'cluster.cpu_overcommit_ratio', least: 0.1, most: 64, standard: 4 },
  memory: { field: 'cluster.memory_overcommit_ratio', least: 0.1, most: 4, standard: 1 },
} as const;

type Ratios = Pick<ClusterRecord, 'cpuOvercommitRatio' | 'memoryOvercommitRatio'>;

function ratiosOf(message: Ratios): Ratios {
  const cpuOvercommitRatio = message.cpuOvercommitRatio || bounds.cpu.standard;
  const memoryOvercommitRatio = message.memoryOvercommitRatio || bounds.memory.standard;
  refuseFields([
    ...outside(cpuOvercommitRatio, bounds.cpu),
    ...outside(memoryOvercommitRatio, bounds.memory),
  ]);
  return { cpuOvercommitRatio, memoryOvercommitRatio };
}

function outside(ratio: number, { field, least, most }: { field: string; least: number; most: number }) {
  const fits = ratio >= least && ratio <= most;
  return fits ? [] : [{ field, description: `must be ${least} to ${most}` } satisfies FieldViolation];
}

export function clustersApi(
  inventory: Inventory,
  fleet: Fleet,
  parts: StandardParts,
): Implementation<typeof ClusterServiceDefinition> {
  const { pods, clusters, hosts } = inventory;
  return standardMethods(
    {
      contract: ClusterServiceDefinition,
      kind: 'Cluster',
      entity: clusters,
      fields: { pod: { path: 'pod', type: 'string' }, ...headerFields },
      changeable: ['cpu_overcommit_ratio', 'memory_overcommit_ratio'],
      build: async (message, header) => {
        const pod = await referred(pods, message.pod, 'cluster.pod');
        const within = zoneWithin(header, pod.value.header, 'cluster.header.zone');
        return { header: within, pod: message.pod, ...ratiosOf(message) };
      },
      change: (record, message) => ({ ...record, ...ratiosOf(message) }),
      usedBy: async (uid) => {
        const count = await hosts.count({ cluster: `clusters/${uid}` });
        return count > 0 ? `${count} hosts` : undefined;
      },
      written: ({ value }) => applyOvercommit(inventory, fleet, value),
    },
    parts,
  );
}
