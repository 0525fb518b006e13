/**
 * What the parts of the orchestrator ask of one another. Types only: jobs and API handlers depend on these, the
 * adapters fulfil them, service.ts puts them together.
 */
import type {
  HypervisorServiceDefinition,
  MachineObservation,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import type { Client, ServiceContract } from '@nephos/service';
import type { Amounts, PlanRequest } from './domain/planner/host-view.ts';

/** What a VM holds of a host. */
export interface CapacityClaim extends Amounts {
  readonly vmUid: string;
}

/** What is asked of a planner, but for what each try adds. */
export type RoomRequest = Omit<PlanRequest, 'excludedHosts' | 'maxCandidates'>;

/** Finds room for a VM and claims it. */
export interface Placement {
  /**
   * Plans and claims in one; asks the planner again when a claim is refused. A claim the VM holds already is the
   * answer. Throws `Exhausted` NO_HOST_FITS, its metadata counting the hosts rejected per reason; `Unavailable` with
   * the same reason where only the links to agents keep hosts from being asked.
   */
  place(request: RoomRequest): Promise<{ readonly hostUid: string }>;
  /**
   * Throws `Exhausted` NO_HOST_FITS for what no host could take, were it empty, open and within reach. Claims nothing.
   */
  checkPossible(request: RoomRequest): Promise<void>;
}

/** What is claimed of hosts. Claims are compare-and-set on one document a host; their sum never exceeds it. */
export interface Capacity {
  /** Changes what a VM holds. Throws `Exhausted` CAPACITY_EXHAUSTED, `NotFound` without a claim. */
  resize(hostUid: string, claim: CapacityClaim): Promise<void>;
  /** Gives everything back. Not there is success. */
  release(vmUid: string): Promise<void>;
  /** Gives back what the VM holds of one host, wherever its claim is said to be. Not there is success. */
  releaseOn(hostUid: string, vmUid: string): Promise<void>;
  /** Uid of the host that holds the VM's claim. */
  hostOf(vmUid: string): Promise<string | undefined>;
  /** Every claim, host by host. */
  all(): AsyncIterable<CapacityClaim & { readonly hostUid: string }>;
}

/** A plugin's client, and the name under which the agent knows the host. */
export interface HostEndpoint<Contract extends ServiceContract> {
  readonly client: Client<Contract>;
  readonly host: string;
}

export type HostLink = 'connecting' | 'up' | 'silent' | 'disconnected';

/** What an agent saw on one host. */
export interface HostObservations {
  readonly hostUid: string;
  readonly machines: readonly MachineObservation[];
  /** True: these are all the machines there are; what is missing is gone. */
  readonly complete: boolean;
  /** Throws `Conflict` LEASE_LOST once another instance may observe: asked right before each write. */
  readonly stillMine: () => void;
}

/** The time in which this instance, and no other, observes hosts. */
export interface Term {
  /** Higher than that of every term before. */
  readonly epoch: number;
  /** Aborted before another instance may begin a term. */
  readonly signal: AbortSignal;
  /** At this very moment; false also right after the process stood still. */
  readonly isHeld: () => boolean;
}

/** The orchestrator's links to the agents of its hosts: calls from every instance, observations on one at a time. */
export interface AgentLinks {
  /** Throws `NotFound` for an unknown host. Calls wait for the agent within their deadline. */
  hypervisor(hostUid: string): Promise<HostEndpoint<typeof HypervisorServiceDefinition>>;
  storage(hostUid: string): Promise<HostEndpoint<typeof StorageServiceDefinition>>;
  /** Listeners are awaited in order before the stream's cursor moves on. */
  onObservations(listener: (seen: HostObservations) => Promise<void>): Disposable;
  /** Called when a host's link changes. */
  onLink(listener: (hostUid: string, link: HostLink) => Promise<void>): Disposable;
  /** As last known here: certain while this instance observes, else perhaps a moment old. */
  linkOf(hostUid: string): HostLink;
  /** As it is on record now, whichever instance wrote it. */
  linkNow(hostUid: string): Promise<HostLink>;
}

/** Where machines that the platform did not start are written down. */
export interface UnmanagedMachines {
  /** Replaces what is known of the host. */
  report(
    hostUid: string,
    machines: readonly { readonly uid: string; readonly message: string }[],
  ): Promise<void>;
}
