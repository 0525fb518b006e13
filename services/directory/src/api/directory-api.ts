/** The calls of the directory: validate, ask the registry, answer. Nothing here lives longer than a call. */
import type {
  DeregisterInstanceRequest,
  DirectoryServiceDefinition,
  GetInstanceRequest,
  ListInstancesRequest,
  RegisterInstanceRequest,
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
import { calleesOf, factsOf, loadOf } from '../domain/message.ts';
import type { PublicState } from '../domain/record.ts';
import { messageOfListed } from '../watched-list.ts';
import type { Watching } from '../watching.ts';
import type { Caller } from './admission.ts';
import { type RenewingParts, renewing } from './renewing.ts';

const filterFields = {
  service: { path: 'service', type: 'string' },
  version: { path: 'version', type: 'string' },
  zone: { path: 'zone', type: 'string' },
  address: { path: 'address', type: 'string' },
  health: { path: 'health', type: 'string', values: ['SERVING', 'NOT_SERVING', 'DRAINING'] },
  labels: { path: 'labels', type: 'map' },
} as const;

export type DirectoryApi = ReturnType<typeof directoryApi>;

export interface DirectoryApiParts extends RenewingParts {
  readonly watching: Watching;
}

export function directoryApi(parts: DirectoryApiParts) {
  const { registry, watching, admission, now } = parts;
  return {
    async registerInstance({ instance, beat, supersedes }: RegisterInstanceRequest, caller: Caller) {
      const at = now().toISOString();
      const { uid, facts } = factsOf(instance, at);
      await admission.check('register', caller, uid, facts.service);
      return messageOfListed(
        await registry.register({
          uid,
          facts,
          beat: Number(beat),
          load: loadOf(instance?.load ?? 0),
          callees: calleesOf(instance?.callees ?? [], at),
          supersedes,
        }),
      );
    },

    ...renewing(parts),

    async deregisterInstance({ name, beat }: DeregisterInstanceRequest, caller: Caller) {
      const uid = parseResourceName('instances', name);
      const known = await registry.find(uid);
      await admission.check('deregister', caller, uid, known?.state.facts.service);
      // Whose an unknown one is, nobody has checked.
      if (known !== undefined) await registry.deregister(uid, beat === 0n ? undefined : Number(beat));
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
