/** The judgement over a whole run: the world at rest, then the stores and the streams after all services ended. */
import { systemClock } from '@nephos/service';
import type { Platform } from '../platform.ts';
import { serviceNames } from '../services.ts';
import { type Counter, type EventVerdict, judgeEvents, type SeenEvent } from './judge.ts';
import { readCounters, readDocuments, type Stores } from './store-reader.ts';
import { readDirectoryCounters, readEvents } from './stream-reader.ts';
import { faultsOf, lookAtWorld } from './world.ts';

export interface Verdict {
  readonly events: EventVerdict;
  readonly seen: readonly SeenEvent[];
  readonly counters: readonly Counter[];
  /** All that is wrong, a line each. */
  readonly problems: readonly string[];
}

/** How long the platform may take to come to rest: reconcilers and projectors work behind the operations. */
const restMs = 30_000;

/**
 * Waits until the world is at rest and in order, or the time is up; ends the services (the broker stays); then
 * compares every event in the broker with the stores' counters.
 */
export async function judge(platform: Platform): Promise<Verdict> {
  const world = await atRest(platform);
  for (const name of serviceNames.toReversed()) {
    await Promise.all(platform.replicas[name].map((service) => service.stop()));
  }
  const seen = await readEvents(platform.nats);
  const counters = [...(await readCounters(platform)), ...(await readDirectoryCounters(platform.nats))];
  const events = judgeEvents(seen, counters);
  const claims = await claimFaults(platform);
  return { events, seen, counters, problems: [...world, ...claims, ...events.problems] };
}

/** What is wrong with the world once it is at rest, or still when the time is up. */
export async function atRest({ api }: Pick<Platform, 'api'>): Promise<string[]> {
  const deadline = systemClock.monotonic() + restMs;
  for (;;) {
    const faults = faultsOf(await lookAtWorld(api));
    if (faults.length === 0 || systemClock.monotonic() > deadline) return faults;
    await systemClock.sleep(50);
  }
}

interface Ledger {
  readonly claims: Readonly<Record<string, unknown>>;
}

interface PlacedVm {
  readonly hostUid?: string;
}

/** Claims in the ledgers against the VMs that say they are placed. */
async function claimFaults(stores: Stores): Promise<string[]> {
  const vms = await readDocuments<PlacedVm>(stores, 'orchestrator', 'vms');
  const ledgers = await readDocuments<Ledger>(stores, 'orchestrator', 'host_capacity');
  const faults: string[] = [];
  for (const [hostUid, { claims }] of ledgers) {
    for (const vmUid of Object.keys(claims)) {
      if (vms.get(vmUid)?.hostUid !== hostUid)
        faults.push(`hosts/${hostUid} has room claimed for vms/${vmUid}, which is not there`);
    }
  }
  for (const [vmUid, { hostUid }] of vms) {
    if (hostUid !== undefined && !(vmUid in (ledgers.get(hostUid)?.claims ?? {}))) {
      faults.push(`vms/${vmUid} is on hosts/${hostUid} without a claim`);
    }
  }
  return faults;
}
