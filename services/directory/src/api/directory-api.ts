/** The calls of the directory: validate, ask the registry, answer. Nothing here lives longer than a call. */
import type {
  DeregisterInstanceRequest,
  DirectoryServiceDefinition,
  GetInstanceRequest,
  ListInstancesRequest,
  RegisterInstanceRequest,
  RenewInstanceRequest,
  WatchInstancesRequest,
} from '@nephos/proto/nephos/directory/v1/directory_service';
import {
  type FilterCondition,
  type Implementation,
  pageSizeOf,
  pageTokenOf,
  parseFilter,
  parseResourceName,
  readPageToken,
} from '@nephos/service';
import { durationOf, factsOf, healthOf, loadOf } from '../domain/message.ts';
import type { PublicState } from '../domain/record.ts';
import type { Registry } from '../registry.ts';
import { messageOfListed, type Watching } from '../watching.ts';

const filterFields = {
  service: { path: 'service', type: 'string' },
  version: { path: 'version', type: 'string' },
  zone: { path: 'zone', type: 'string' },
  address: { path: 'address', type: 'string' },
  health: { path: 'health', type: 'string', values: ['SERVING', 'NOT_SERVING', 'DRAINING'] },
  labels: { path: 'labels', type: 'map' },
} as const;

export type DirectoryApi = ReturnType<typeof directoryApi>;

export function directoryApi(registry: Registry, watching: Watching, now: () => Date) {
  return {
    async registerInstance({ instance, beat, supersedes }: RegisterInstanceRequest) {
      const { uid, facts } = factsOf(instance, now().toISOString());
      return messageOfListed(
        await registry.register(uid, facts, Number(beat), loadOf(instance?.load ?? 0), supersedes),
      );
    },

    async renewInstance({ name, beat, health, load }: RenewInstanceRequest) {
      const uid = parseResourceName('instances', name);
      const leaseMs = await registry.renew(uid, Number(beat), healthOf(health, 'health'), loadOf(load));
      return { leaseTtl: durationOf(leaseMs) };
    },

    async deregisterInstance({ name, beat }: DeregisterInstanceRequest) {
      await registry.deregister(parseResourceName('instances', name), beat === 0n ? undefined : Number(beat));
      return {};
    },

    async getInstance({ name }: GetInstanceRequest) {
      return messageOfListed(await registry.get(parseResourceName('instances', name)));
    },

    async listInstances(request: ListInstancesRequest) {
      const conditions = parseFilter(request.filter, filterFields);
      const size = pageSizeOf(request.pageSize);
      const after = readPageToken(request.pageToken, [request.filter]) ?? '';
      const found = registry
        .list()
        .filter(({ state }) => state.uid > after && conditions.every((condition) => holds(condition, state)));
      const page = found.slice(0, size);
      // The list is ordered by uid, so the last one is where the next page begins.
      const cursor = found.length > size ? page.at(-1)?.state.uid : undefined;
      return { instances: page.map(messageOfListed), nextPageToken: pageTokenOf(cursor, [request.filter]) };
    },

    watchInstances: (request: WatchInstancesRequest, call: { readonly signal: AbortSignal }) =>
      watching.watch(request, call.signal),
  } satisfies Implementation<typeof DirectoryServiceDefinition>;
}

function holds({ path, op, value }: FilterCondition, { facts }: PublicState): boolean {
  const actual = path.startsWith('labels.')
    ? facts.labels[path.slice('labels.'.length)]
    : Reflect.get(facts, path);
  if (typeof actual !== 'string' || typeof value !== 'string') return false;
  switch (op) {
    case '=':
      return actual === value;
    case 'prefix':
      return actual.startsWith(value);
    case '<':
      return actual < value;
    case '<=':
      return actual <= value;
    case '>':
      return actual > value;
    case '>=':
      return actual >= value;
  }
}
