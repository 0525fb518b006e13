/** ZoneService. A zone is in itself: its header's zone is its own name. */
import { ZoneServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/zone';
import { type StandardParts, standardMethods } from '@nephos/resources';
import { type Implementation, refuseFields } from '@nephos/service';
import type { Inventory } from '../inventory.ts';

const longestDescription = 1024;

export function zonesApi(
  { zones, pods, clusters, hosts }: Inventory,
  parts: StandardParts,
): Implementation<typeof ZoneServiceDefinition> {
  return standardMethods(
    {
      contract: ZoneServiceDefinition,
      kind: 'Zone',
      entity: zones,
      changeable: ['description'],
      build: ({ description }, header) => {
        checkDescription(description);
        return { header: { ...header, zone: `zones/${header.uid}` }, description };
      },
      change: (record, { description }) => {
        checkDescription(description);
        return { ...record, description };
      },
      usedBy: async (uid) => {
        const where = { 'header.zone': `zones/${uid}` };
        const counts = [
          [await pods.count(where), 'pods'],
          [await clusters.count(where), 'clusters'],
          [await hosts.count(where), 'hosts'],
        ] as const;
        const used = counts.find(([count]) => count > 0);
        return used && `${used[0]} ${used[1]}`;
      },
    },
    parts,
  );
}

function checkDescription(description: string): void {
  if (description.length <= longestDescription) return;
  refuseFields([{ field: 'zone.description', description: `at most ${longestDescription} characters` }]);
}
