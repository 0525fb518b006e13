/** PodService. A pod lies in a zone. */
import { PodServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/pod';
import { type StandardParts, standardMethods } from '@nephos/resources';
import type { Implementation } from '@nephos/service';
import type { Inventory } from '../inventory.ts';
import { referred } from './references.ts';

export function podsApi(
  { zones, pods, clusters }: Inventory,
  parts: StandardParts,
): Implementation<typeof PodServiceDefinition> {
  return standardMethods(
    {
      contract: PodServiceDefinition,
      kind: 'Pod',
      entity: pods,
      build: async (_message, header) => {
        await referred(zones, header.zone, 'pod.header.zone');
        return { header };
      },
      usedBy: async (uid) => {
        const count = await clusters.count({ pod: `pods/${uid}` });
        return count > 0 ? `${count} clusters` : undefined;
      },
    },
    parts,
  );
}
