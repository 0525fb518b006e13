/**
 * The directory as its own process asks it: the same handlers, without the network. The directory registers and
 * resolves like any service, whether or not its seeds name itself.
 */
import type { DirectoryEndpoint } from '@nephos/directory';
import {
  DeregisterInstanceRequest,
  DeregisterInstanceResponse,
  RegisterInstanceRequest,
  RenewInstanceRequest,
  RenewInstanceResponse,
  WatchInstancesRequest,
  WatchInstancesResponse,
} from '@nephos/proto/nephos/directory/v1/directory_service';
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import type { DeepPartial } from '@nephos/service';
import type { DirectoryApi } from './directory-api.ts';

/** What a codec offers, with the readonly input that clients take. */
interface Completer<T> {
  fromPartial(object: DeepPartial<T>): T;
}

function complete<T>(type: Completer<T>, object: DeepPartial<T>): T {
  return type.fromPartial(object);
}

/** Nobody else can be on this side of the network. */
const itself = { token: undefined, peer: 'this process' };

/** `api`: with an admission that lets its own process in. */
export function localEndpoint(api: DirectoryApi): DirectoryEndpoint {
  return {
    registerInstance: async (request) =>
      complete<Instance>(
        Instance,
        await api.registerInstance(
          complete<RegisterInstanceRequest>(RegisterInstanceRequest, request),
          itself,
        ),
      ),
    renewInstance: async (request) =>
      complete<RenewInstanceResponse>(
        RenewInstanceResponse,
        await api.renewInstance(complete<RenewInstanceRequest>(RenewInstanceRequest, request), itself),
      ),
    deregisterInstance: async (request) =>
      complete<DeregisterInstanceResponse>(
        DeregisterInstanceResponse,
        await api.deregisterInstance(
          complete<DeregisterInstanceRequest>(DeregisterInstanceRequest, request),
          itself,
        ),
      ),
    async *watchInstances(request, options = {}) {
      const signal = options.signal ?? new AbortController().signal;
      const asked = complete<WatchInstancesRequest>(WatchInstancesRequest, request);
      for await (const update of api.watchInstances(asked, { signal })) {
        yield complete<WatchInstancesResponse>(WatchInstancesResponse, update);
      }
    },
  };
}
