/**
 * Brings a cluster's overcommit ratios into the ledgers of its hosts. Run after each change and for all clusters
 * at start, which heals what a crash left between the two.
 */
import type { Inventory } from '../inventory.ts';
import { orMissing } from '../or-missing.ts';
import { pagesOf } from '../pages-of.ts';
import type { ClusterRecord } from '../records/cluster.ts';
import type { Fleet } from './fleet.ts';

export async function applyOvercommit(
  { hosts, ledgers }: Pick<Inventory, 'hosts' | 'ledgers'>,
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
export async function applyAllOvercommits(
  inventory: Pick<Inventory, 'clusters' | 'hosts' | 'ledgers'>,
  fleet: Fleet,
): Promise<void> {
  for await (const page of pagesOf(inventory.clusters)) {
    for (const { value } of page) await applyOvercommit(inventory, fleet, value);
  }
}
