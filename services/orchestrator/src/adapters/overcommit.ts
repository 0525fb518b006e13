/**
 * Brings a cluster's overcommit ratios into the ledgers of its hosts. Run after each change of a cluster, and over all
 * clusters by the instance that begins to observe, which heals what a crash left between the two. Whoever applied
 * ratios looks at the cluster again, so that of two changes on two instances the last one stands everywhere.
 */
import type { Inventory } from '../inventory.ts';
import { orMissing } from '../or-missing.ts';
import { pagesOf } from '../pages-of.ts';
import type { ClusterRecord } from '../records/cluster.ts';
import type { Fleet } from './fleet.ts';

type Parts = Pick<Inventory, 'clusters' | 'hosts' | 'ledgers'>;

export async function applyOvercommit(parts: Parts, fleet: Fleet, cluster: ClusterRecord): Promise<void> {
  for (let wanted: ClusterRecord | undefined = cluster; wanted !== undefined; ) {
    const applied: ClusterRecord = wanted;
    await applyOnce(parts, fleet, applied);
    const now = (await parts.clusters.get(applied.header.uid))?.value;
    wanted = now !== undefined && !sameRatios(now, applied) ? now : undefined;
  }
}

function sameRatios(a: ClusterRecord, b: ClusterRecord): boolean {
  return a.cpuOvercommitRatio === b.cpuOvercommitRatio && a.memoryOvercommitRatio === b.memoryOvercommitRatio;
}

async function applyOnce(
  { hosts, ledgers }: Parts,
  fleet: Fleet,
  { header, cpuOvercommitRatio: cpu, memoryOvercommitRatio: memory }: ClusterRecord,
): Promise<void> {
  for await (const page of pagesOf(hosts, { where: { cluster: `clusters/${header.uid}` } })) {
    await Promise.all(
      page.map(async ({ id }) => {
        // Without a ledger: the host is being made or deleted.
        const stored = await orMissing(
          ledgers.modify(id, ({ value }) =>
            value.overcommit.cpu === cpu && value.overcommit.memory === memory
              ? undefined
              : { value: { ...value, overcommit: { cpu, memory } } },
          ),
        );
        if (stored !== undefined) fleet.ledgerChanged(id, stored);
      }),
    );
  }
}

/** The same for every cluster. */
export async function applyAllOvercommits(parts: Parts, fleet: Fleet): Promise<void> {
  for await (const page of pagesOf(parts.clusters)) {
    for (const { value } of page) await applyOvercommit(parts, fleet, value);
  }
}
