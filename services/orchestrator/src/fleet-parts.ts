/**
 * The parts that know hosts, put together: the fleet in memory, capacity, placement and the links to agents. Every
 * instance has them; only `links.observe` is for one at a time.
 */
import { type Bus, follow } from '@nephos/events';
import type { ServiceContext } from '@nephos/service';
import { DirectoryAgentLinks } from './adapters/agent-links.ts';
import { StoredCapacity } from './adapters/capacity.ts';
import { Fleet } from './adapters/fleet.ts';
import { followFleet } from './adapters/fleet-follower.ts';
import { HostFactsWriter } from './adapters/host-facts.ts';
import { HostProjector } from './adapters/host-projector.ts';
import { ClaimingPlacement, type Planner } from './adapters/placement.ts';
import { atBest } from './domain/planner/at-best.ts';
import { planDeployment } from './domain/planner/plan.ts';
import type { Inventory } from './inventory.ts';

/** Between two readings of all hosts: of one's own writes, and where others write too. */
const resyncMs = { alone: 60_000, shared: 15_000 };

export interface FleetOptions {
  readonly bus: Bus;
  /** Other instances write the same store. */
  readonly shared: boolean;
  readonly hostSilentAfter: number;
  readonly hostDisconnectedAfter: number;
}

export interface FleetParts {
  readonly fleet: Fleet;
  readonly planner: Planner;
  readonly capacity: StoredCapacity;
  readonly placement: ClaimingPlacement;
  readonly links: DirectoryAgentLinks;
  readonly projector: HostProjector;
  readonly facts: HostFactsWriter;
}

/** Reads the fleet and begins to keep it. */
export async function openFleet(
  ctx: ServiceContext,
  inventory: Inventory,
  options: FleetOptions,
): Promise<FleetParts> {
  const { clock, log, clients, resources } = ctx;
  const { hosts, ledgers, claimPointers } = inventory;
  const { bus, shared } = options;
  const fleet = new Fleet(hosts, ledgers, { shared });
  await fleet.resync();
  const projector = resources.use(
    new HostProjector({
      hosts,
      ledgers,
      changed: (host) => fleet.hostChanged(host),
      clock,
      log,
    }),
  );
  const capacity = new StoredCapacity(ledgers, claimPointers, (hostUid, ledger) => {
    fleet.ledgerChanged(hostUid, ledger);
    projector.touch(hostUid);
  });
  const planner: Planner = async (request) => planDeployment(fleet.views(), request, Math.random);
  const bestCase: Planner = async (request) =>
    planDeployment(fleet.views().map(atBest), request, Math.random);
  const placement = new ClaimingPlacement(planner, bestCase, capacity, async () => {
    await fleet.catchUp();
    return shared;
  });
  const facts = new HostFactsWriter(hosts, ledgers, fleet, clock);
  const links = new DirectoryAgentLinks({
    fleet,
    facts,
    clients,
    clock,
    log,
    silentAfterMs: options.hostSilentAfter,
    disconnectedAfterMs: options.hostDisconnectedAfter,
  });
  const membershipChanged = () => links.hostsChanged();
  ctx.background('fleet resync', async (signal) => {
    while (!signal.aborted) {
      await clock.sleep(shared ? resyncMs.shared : resyncMs.alone, signal).catch(() => undefined);
      if (signal.aborted) return;
      await fleet.resync();
      membershipChanged();
    }
  });
  if (shared) {
    ctx.background('fleet follower', async (signal) => {
      const events = follow(bus, { filter: { entity: 'host' }, signal });
      await followFleet({ fleet, events, membershipChanged, clock, log });
    });
  }
  return { fleet, planner, capacity, placement, links, facts, projector };
}
