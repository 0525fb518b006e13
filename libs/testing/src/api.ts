/** Typed clients of a platform's contracts, as an outside program has them, and what is often done with them. */
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import { CredentialServiceDefinition } from '@nephos/proto/nephos/events/v1/credential';
import { JobServiceDefinition } from '@nephos/proto/nephos/jobs/v1/jobs';
import { ClusterServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/cluster';
import { HostServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/host';
import { OfferingServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/offering';
import { PodServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/pod';
import { VmServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/vm';
import { VolumeServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/volume';
import { ZoneServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/zone';
import { HypervisorServiceDefinition } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import { TemplateServiceDefinition } from '@nephos/proto/nephos/template/v1/template';
import {
  type CallOptions,
  type Client,
  type Clients,
  fromStatusMessage,
  NephosError,
  type ServiceContract,
  systemClock,
} from '@nephos/service';
import type { ServiceName } from './services.ts';

export type PlatformApi = ReturnType<typeof platformApi>;

/** `targetOf`: a service's name or address; `agentAddresses`: those of every host agent. */
export function platformApi(
  clients: Clients,
  targetOf: (service: ServiceName) => string,
  agentAddresses: readonly string[],
) {
  const orchestrator = targetOf('orchestrator');
  const control = targetOf('job-control');
  const of = <D extends ServiceContract>(definition: D, address: string): Client<D> =>
    patient(clients.of(definition, address));
  const agentAt = (address: string) => ({
    hypervisor: of(HypervisorServiceDefinition, address),
    storage: of(StorageServiceDefinition, address),
  });
  return {
    directory: of(DirectoryServiceDefinition, targetOf('directory')),
    zones: of(ZoneServiceDefinition, orchestrator),
    pods: of(PodServiceDefinition, orchestrator),
    clusters: of(ClusterServiceDefinition, orchestrator),
    hosts: of(HostServiceDefinition, orchestrator),
    offerings: of(OfferingServiceDefinition, orchestrator),
    vms: of(VmServiceDefinition, orchestrator),
    volumes: of(VolumeServiceDefinition, orchestrator),
    templates: of(TemplateServiceDefinition, targetOf('template')),
    jobs: of(JobServiceDefinition, control),
    operations: of(OperationsDefinition, control),
    credentials: of(CredentialServiceDefinition, targetOf('events')),
    /** Of the first agent. */
    ...agentAt(agentAddresses[0] ?? ''),
    /** Of each agent. */
    agents: agentAddresses.map(agentAt),
  };
}

type Method = (request: unknown, options?: CallOptions) => unknown;

/** Its calls wait for a service that is being restarted, until their deadline. */
function patient<D extends ServiceContract>(client: Client<D>): Client<D> {
  const methods = Object.entries<unknown>(client).map(([name, method]) => {
    const call = method as Method;
    const waiting: Method = (request, options) => call(request, { waitForReady: true, ...options });
    return [name, waiting] as const;
  });
  return Object.fromEntries(methods) as unknown as Client<D>;
}

const waitSeconds = 20n;

/** The operation once it is done, however often job control goes away meanwhile. */
export async function finished(api: PlatformApi, { name }: { readonly name: string }): Promise<Operation> {
  for (;;) {
    try {
      const operation = await api.operations.waitOperation({ name, timeout: { seconds: waitSeconds } });
      if (operation.done) return operation;
    } catch (error) {
      if (!(error instanceof NephosError && passes.has(error.kind))) throw error;
    }
  }
}

const passes = new Set(['unavailable', 'deadline']);

/** The same for one that must succeed: throws its error. */
export async function succeeded(api: PlatformApi, operation: { readonly name: string }): Promise<Operation> {
  const done = await finished(api, operation);
  if (done.result?.$case === 'error') throw fromStatusMessage(done.result.value);
  return done;
}

/** Asks until the answer is there: for what no event tells. */
export async function until<T>(ask: () => Promise<T | undefined | false>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    await systemClock.sleep(25, signal);
  }
}
