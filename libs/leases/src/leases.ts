/**
 * Named leases as documents in a service's own store: by them several instances of a service agree on who does what
 * only one of them may do. What a lease is, and what all leases of one instance share.
 * A crash leaves the document as it stands: whoever wants the lease next watches it for as long as it lasts.
 */
import type { Clock, Logger } from '@nephos/service';
import { type Collection, type CollectionDefinition, defineCollection, type Store } from '@nephos/store';

/** One lease as it is stored. */
export interface LeaseRecord {
  /** Instance that holds it; empty: it was let go of. */
  readonly owner: string;
  /** Where the owner is reached, `host:port`; empty where nobody asks. */
  readonly address: string;
  /** +1 with each change of owner: the fencing token of what is done under the lease. */
  readonly epoch: number;
  /** Changes as long as the owner lives. */
  readonly beat: number;
}

export interface LeaseOptions {
  /** A store that is not exclusive is shared with other instances. */
  readonly store: Pick<Store, 'collection' | 'exclusive'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** This instance: `ctx.instanceId`, new with each start. */
  readonly owner: string;
  /** Where this instance is reached; asked with each write. */
  readonly address?: () => string;
  /** How long an owner may be silent, milliseconds; the same in all instances. Default 10 s. */
  readonly leaseMs?: number;
  /** The collection that holds them. Default `leases`. */
  readonly collection?: string;
}

/** All that the leases of one instance share. */
export interface Leases {
  readonly documents: Collection<LeaseRecord>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly owner: string;
  readonly address: () => string;
  readonly leaseMs: number;
  /** True: no other instance lives, so a lease is taken at once and need not be renewed. */
  readonly exclusive: boolean;
}

const definitions = new Map<string, CollectionDefinition<LeaseRecord>>();

/** One a name: a store knows a collection by the very definition that opened it. */
function definitionOf(name: string): CollectionDefinition<LeaseRecord> {
  const known = definitions.get(name);
  if (known !== undefined) return known;
  const definition = defineCollection<LeaseRecord>({ name, schemaVersion: 1, indexes: {} });
  definitions.set(name, definition);
  return definition;
}

export async function openLeases(options: LeaseOptions): Promise<Leases> {
  const { store, clock, log, owner, address = () => '', leaseMs = 10_000, collection = 'leases' } = options;
  const documents = await store.collection(definitionOf(collection));
  return { documents, clock, log, owner, address, leaseMs, exclusive: store.exclusive };
}

/** Share of a lease after which its owner renews it. */
const renewShare = 0.25;
/** Share of a lease after which an owner that could not renew stops by itself: others wait for the whole. */
const ownerShare = 0.75;

export function renewMs({ leaseMs }: Leases): number {
  return leaseMs * renewShare;
}

export function ownerMs({ leaseMs }: Leases): number {
  return leaseMs * ownerShare;
}
