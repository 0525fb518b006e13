/** The parts that know hosts, put together: the fleet in memory, capacity, placement and the links to agents. */
import type { ServiceContext } from '@nephos/service';
import { DirectoryAgentLinks } from './adapters/agent-links.ts';
import { StoredCapacity } from './adapters/capacity.ts';
import { Fleet } from './adapters/fleet.ts';
import { HostFactsWriter } from './adapters/host-facts.ts';
import { openLedgers } from './adapters/host-ledger.ts';
import { HostProjector } from './adapters/host-projector.ts';
import { applyAllOvercommits } from './adapters/overcommit.ts';
import { ClaimingPlacement, type Planner } from './adapters/placement.ts';
import { atBest } from './domain/planner/at-best.ts';
import { planDeployment } from './domain/planner/plan.ts';
import type { Inventory } from './inventory.ts';

const resyncMs = 60_000;

export interface FleetOptions {
  readonly hostSilentAfter: number;
  readonly hostDisconnectedAfter: number;
}

export interface FleetParts {
  readonly fleet: Fleet;
  readonly planner: Planner;
  readonly capacity: StoredCapacity;
  readonly placement: ClaimingPlacement;
  readonly links: DirectoryAgentLinks;
  readonly facts: HostFactsWriter;
}

/** Reads the fleet and begins to keep it; `links.hostsChanged()` opens the links once all listeners stand. */
export async function openFleet(
  ctx: ServiceContext,
  inventory: Inventory,
  options: FleetOptions,
): Promise<FleetParts> {
  const { clock, log, clients, resources } = ctx;
  const { hosts, ledgers, claimPointers } = inventory;
  const fleet = new Fleet(hosts, ledgers);
  await openLedgers(inventory);
  await fleet.resync();
  await applyAllOvercommits(inventory, fleet);
  const projector = resources.use(
    new HostProjector({
      hosts,
      ledgerOf: (hostUid) => fleet.ledger(hostUid),
      changed: (host) => fleet.hostChanged(host),
      clock,
      log,
    }),
  );
  for (const { header } of fleet.records()) projector.touch(header.uid);
  const capacity = new StoredCapacity(ledgers, claimPointers, (hostUid, ledger) => {
    fleet.ledgerChanged(hostUid, ledger);
    projector.touch(hostUid);
  });
  const planner: Planner = async (request) => planDeployment(fleet.views(), request, Math.random);
  const bestCase: Planner = async (request) =>
    planDeployment(fleet.views().map(atBest), request, Math.random);
  const placement = new ClaimingPlacement(planner, bestCase, capacity);
  const facts = new HostFactsWriter(hosts, ledgers, fleet, clock);
  const links = resources.use(
    new DirectoryAgentLinks({
      fleet,
      facts,
      clients,
      clock,
      log,
      silentAfterMs: options.hostSilentAfter,
      disconnectedAfterMs: options.hostDisconnectedAfter,
    }),
  );
  ctx.background('fleet resync', async (signal) => {
    while (!signal.aborted) {
      await clock.sleep(resyncMs, signal).catch(() => undefined);
      if (!signal.aborted) await fleet.resync();
    }
  });
  return { fleet, planner, capacity, placement, links, facts };
}
