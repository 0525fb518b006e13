/** What services hold of the directory. Types only. */
import type { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import type { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import type { Client, ServiceContext } from '@nephos/service';

export type Log = ServiceContext['log'];

/** Which instances of a service are meant: all that is given must match. */
export interface Selector {
  readonly version?: string;
  readonly zone?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** What is asked of a directory: a client of it, or the directory itself where it shares the process. */
export type DirectoryEndpoint = Pick<
  Client<typeof DirectoryServiceDefinition>,
  'registerInstance' | 'renewInstance' | 'deregisterInstance' | 'watchInstances'
> &
  Partial<Pick<Client<typeof DirectoryServiceDefinition>, 'keepInstances'>>;

export interface JoinOptions {
  /** False: it finds others and is found by none, as a program that only calls. Default true. */
  readonly registers?: boolean;
  /** Full names of the gRPC services that this instance serves; default: all that its server has. */
  readonly services?: readonly string[];
  /** What callers can select by, e.g. `{ agent: 'abc' }`. */
  readonly labels?: Readonly<Record<string, string>>;
  /** How long the instance stays listed after its last renewal, in milliseconds; renewed each third of it. Default 3,000. */
  readonly leaseMs?: number;
  /** Asked instead of the seeds: for the directory service itself. */
  readonly endpoint?: DirectoryEndpoint;
}

/** A service's hold on the directory; ends with the service. */
export interface DirectoryHandle {
  /** The uid under which this instance registers. */
  readonly uid: string;
  /**
   * The instances that take calls, as last known. Waits a moment for the first answer; throws Unavailable when
   * neither the directory nor the list on disk knows the service's list. A known list may be empty for a selector.
   */
  resolve(service: string, selector?: Selector): Promise<readonly Instance[]>;
  /** The list as soon as it is known and again after each change; intermediate lists may be left out. */
  watch(service: string, selector?: Selector): AsyncIterable<readonly Instance[]>;
  /** Replaces this instance's labels and registers them. */
  setLabels(labels: Readonly<Record<string, string>>): void;
}
