/**
 * What is claimed of one host: a pure value, stored as one document and changed by compare-and-set, so that
 * two planners can never both take the last room. Invariant: the sum of the claims never exceeds what the host
 * has times its overcommit ratios, unless the host itself shrank under claims it already had.
 */
import type { Amounts } from '../planner/host-view.ts';

export interface Ledger {
  /** What the host has for guests, as its agent told. */
  readonly capacity: Amounts;
  /** Virtual CPUs per physical thread, and guest memory per byte. */
  readonly overcommit: { readonly cpu: number; readonly memory: number };
  /** What each VM holds, by uid. */
  readonly claims: Readonly<Record<string, Amounts>>;
}

export type ClaimResult =
  | { readonly kind: 'claimed'; readonly ledger: Ledger }
  | { readonly kind: 'held' }
  | { readonly kind: 'refused'; readonly lacks: keyof Amounts };

const nothing: Amounts = { vcpus: 0, memoryBytes: 0, diskBytes: 0 };
const kinds = ['memoryBytes', 'vcpus', 'diskBytes'] as const;

/** What may be placed on the host, overcommit applied. */
export function totalOf({ capacity, overcommit }: Ledger): Amounts {
  return {
    vcpus: Math.floor(capacity.vcpus * overcommit.cpu),
    memoryBytes: Math.floor(capacity.memoryBytes * overcommit.memory),
    diskBytes: capacity.diskBytes,
  };
}

export function claimedOf({ claims }: Ledger): Amounts {
  let { vcpus, memoryBytes, diskBytes } = nothing;
  for (const claim of Object.values(claims)) {
    vcpus += claim.vcpus;
    memoryBytes += claim.memoryBytes;
    diskBytes += claim.diskBytes;
  }
  return { vcpus, memoryBytes, diskBytes };
}

export function freeOf(ledger: Ledger): Amounts {
  return minus(totalOf(ledger), claimedOf(ledger));
}

/** Makes a VM hold exactly `amounts`. Giving back is never refused, even on a host that is over-full. */
export function claim(ledger: Ledger, vmUid: string, amounts: Amounts): ClaimResult {
  const held = ledger.claims[vmUid];
  if (held !== undefined && kinds.every((kind) => held[kind] === amounts[kind])) return { kind: 'held' };
  const free = freeOf(ledger);
  const before = held ?? nothing;
  const lacks = kinds.find(
    (kind) => amounts[kind] > before[kind] && amounts[kind] - before[kind] > free[kind],
  );
  if (lacks !== undefined) return { kind: 'refused', lacks };
  return { kind: 'claimed', ledger: { ...ledger, claims: { ...ledger.claims, [vmUid]: amounts } } };
}

/** `undefined` if the VM holds nothing. */
export function release(ledger: Ledger, vmUid: string): Ledger | undefined {
  if (ledger.claims[vmUid] === undefined) return undefined;
  const { [vmUid]: _given, ...claims } = ledger.claims;
  return { ...ledger, claims };
}

function minus(a: Amounts, b: Amounts): Amounts {
  return {
    vcpus: a.vcpus - b.vcpus,
    memoryBytes: a.memoryBytes - b.memoryBytes,
    diskBytes: a.diskBytes - b.diskBytes,
  };
}
