/** ZoneService. A zone is in itself: its header's zone is its own name. */
import type { Idempotency } from '@nephos/idempotency';
import { Zone, type ZoneServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/zone';
import { type Clock, type Implementation, refuseFields } from '@nephos/service';
import type { Inventory } from '../inventory.ts';
import type { ZoneRecord } from '../records/zone.ts';
import { headerChangeable, headerFields, SimpleApi } from './simple-resource.ts';

const longestDescription = 1024;

export function zonesApi(
  inventory: Inventory,
  idempotency: Idempotency,
  clock: Clock,
): Implementation<typeof ZoneServiceDefinition> {
  const { zones, pods, clusters, hosts } = inventory;
  const api = new SimpleApi<ZoneRecord, Zone>(
    {
      entity: zones,
      contract: 'nephos.orchestration.v1.ZoneService',
      kind: 'Zone',
      codec: Zone,
      fields: headerFields,
      changeable: [...headerChangeable, 'description'],
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
    idempotency,
    clock,
  );
  return {
    createZone: ({ zone }, call) => api.create(zone, call),
    getZone: ({ name }) => api.get(name),
    listZones: async (request) => {
      const { messages: zones, nextPageToken } = await api.list(request);
      return { zones, nextPageToken };
    },
    updateZone: ({ zone, updateMask }, call) => api.update(zone, updateMask, call),
    deleteZone: async ({ name, etag }, call) => {
      await api.remove(name, etag, call);
      return {};
    },
  };
}

function checkDescription(description: string): void {
  if (description.length <= longestDescription) return;
  refuseFields([{ field: 'zone.description', description: `at most ${longestDescription} characters` }]);
}
