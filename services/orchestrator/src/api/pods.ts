/** PodService. A pod lies in a zone. */
import type { Idempotency } from '@nephos/idempotency';
import { Pod, type PodServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/pod';
import type { Clock, Implementation } from '@nephos/service';
import type { Inventory } from '../inventory.ts';
import type { PodRecord } from '../records/pod.ts';
import { referred } from './references.ts';
import { headerChangeable, headerFields, SimpleApi } from './simple-resource.ts';

export function podsApi(
  { zones, pods, clusters }: Inventory,
  idempotency: Idempotency,
  clock: Clock,
): Implementation<typeof PodServiceDefinition> {
  const api = new SimpleApi<PodRecord, Pod>(
    {
      entity: pods,
      contract: 'nephos.orchestration.v1.PodService',
      kind: 'Pod',
      codec: Pod,
      fields: headerFields,
      changeable: headerChangeable,
      build: async (_message, header) => {
        await referred(zones, header.zone, 'pod.header.zone');
        return { header };
      },
      change: (record) => record,
      usedBy: async (uid) => {
        const count = await clusters.count({ pod: `pods/${uid}` });
        return count > 0 ? `${count} clusters` : undefined;
      },
    },
    idempotency,
    clock,
  );
  return {
    createPod: ({ pod }, call) => api.create(pod, call),
    getPod: ({ name }) => api.get(name),
    listPods: async (request) => {
      const { messages: pods, nextPageToken } = await api.list(request);
      return { pods, nextPageToken };
    },
    updatePod: ({ pod, updateMask }, call) => api.update(pod, updateMask, call),
    deletePod: async ({ name, etag }, call) => {
      await api.remove(name, etag, call);
      return {};
    },
  };
}
