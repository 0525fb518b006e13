/**
 * What one instance at a time does, for the term of a lease: it holds the links to the agents, projects what they tell,
 * reconciles and sweeps. Owner: the holder of the lease `observer`.
 * A term begins by healing what a crash of the holder before may have left. All that it does is compared with records
 * and written by compare-and-set, so what an earlier holder still had on its way is refused or found again. It ends
 * whole: no write of it begins after its signal.
 */
import { type Idempotency, sweepRequests } from '@nephos/idempotency';
import type { Clock } from '@nephos/service';
import { openLedgers } from './adapters/host-ledger.ts';
import { applyAllOvercommits } from './adapters/overcommit.ts';
import type { FleetParts } from './fleet-parts.ts';
import type { Inventory } from './inventory.ts';
import type { Term } from './ports.ts';
import type { Reconciler } from './reconcile/reconciler.ts';

export interface ObserverParts extends Pick<FleetParts, 'fleet' | 'links' | 'projector'> {
  readonly inventory: Inventory;
  readonly idempotency: Idempotency;
  readonly reconciler: Reconciler;
  readonly clock: Clock;
}

/** Returns when the term is over; throws where a part fails, after the others ended. */
export async function observeHosts(parts: ObserverParts, { signal, ...held }: Term): Promise<void> {
  const { clock, fleet, idempotency, inventory, links, projector, reconciler } = parts;
  await openLedgers(inventory);
  await fleet.resync();
  await applyAllOvercommits(inventory, fleet);
  for (const { header } of fleet.records()) projector.touch(header.uid);
  const failed = new AbortController();
  const term = { ...held, signal: AbortSignal.any([signal, failed.signal]) };
  const works = [
    links.observe(term),
    reconciler.run(term.signal),
    sweepRequests(idempotency, { clock }, term.signal),
  ];
  const ended = await Promise.allSettled(
    works.map((work) =>
      work.catch((error: unknown) => {
        failed.abort();
        throw error;
      }),
    ),
  );
  const failure = ended.find((end) => end.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}
