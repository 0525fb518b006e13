/**
 * The life of a host's ledger: opened after the host, closed before it is deleted, so that no claim can come between
 * the look and the deletion. Owner: the host API. A crash leaves at most a host without a ledger, which takes no VM;
 * the instance that observes opens one. Invariant: opening raises the host's revision first, so that a deletion that
 * had found it closed, on whichever instance, looks again.
 */
import { AlreadyExists, Conflict, NotFound } from '@nephos/service';
import type { Inventory } from '../inventory.ts';
import { orMissing } from '../or-missing.ts';
import { pagesOf } from '../pages-of.ts';

type Parts = Pick<Inventory, 'clusters' | 'hosts' | 'ledgers'>;

/** There already, or the host gone, is success. */
export async function openLedger({ clusters, hosts, ledgers }: Parts, hostUid: string): Promise<void> {
  if ((await ledgers.get(hostUid)) !== undefined) return;
  const raised = hosts.modify(hostUid, (was) => ({ ...was, ledgersOpened: (was.ledgersOpened ?? 0) + 1 }));
  const host = await orMissing(raised);
  if (host === undefined) return;
  const clusterUid = host.value.cluster.slice('clusters/'.length);
  const ratios = async () => {
    const cluster = await clusters.get(clusterUid);
    return { cpu: cluster?.value.cpuOvercommitRatio ?? 1, memory: cluster?.value.memoryOvercommitRatio ?? 1 };
  };
  const { capacity } = host.value.facts;
  try {
    await ledgers.insert(hostUid, { capacity, overcommit: await ratios(), claims: {} });
  } catch (error) {
    if (!(error instanceof AlreadyExists)) throw error;
  }
  // The cluster may have changed between; whoever changed it saw no ledger here yet.
  const overcommit = await ratios();
  await ledgers.modify(hostUid, ({ value }) => ({ value: { ...value, overcommit } }));
}

/** Closes it unless something is claimed there; says how many VMs hold something. */
export async function closeLedger({ ledgers }: Pick<Parts, 'ledgers'>, hostUid: string): Promise<number> {
  for (;;) {
    const ledger = await ledgers.get(hostUid);
    const claims = Object.keys(ledger?.value.claims ?? {}).length;
    if (ledger === undefined || claims > 0) return claims;
    try {
      await ledgers.remove(hostUid, ledger.revision);
    } catch (error) {
      if (!(error instanceof Conflict || error instanceof NotFound)) throw error;
    }
  }
}

/** Opens the ledgers that a crash left closed. */
export async function openLedgers(parts: Parts): Promise<void> {
  for await (const page of pagesOf(parts.hosts)) {
    const there = new Set((await parts.ledgers.getMany(page.map(({ id }) => id))).map(({ id }) => id));
    for (const { id } of page) if (!there.has(id)) await openLedger(parts, id);
  }
}
