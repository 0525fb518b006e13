/**
 * The planner's picture of all hosts, in memory: records and ledgers folded into views. Owner: the orchestrator;
 * fed by whoever writes a host or a ledger, and read anew from the store now and then, so that a missed change
 * heals. It may be stale: a plan is a proposal, and only the claim counts. A crash loses nothing.
 */
import type { EntityCollection } from '@nephos/events';
import type { Host } from '@nephos/proto/nephos/orchestration/v1/host';
import type { Collection, Stored } from '@nephos/store';
import { freeOf, type Ledger, totalOf } from '../domain/capacity/ledger.ts';
import type { HostView } from '../domain/planner/host-view.ts';
import type { HostRecord } from '../records/host.ts';

const pageSize = 500;

interface Entry {
  readonly record: HostRecord;
  readonly ledger: Ledger;
}

export class Fleet {
  readonly #hosts: EntityCollection<HostRecord, Host>;
  readonly #ledgers: Collection<Ledger>;
  #entries = new Map<string, Entry>();
  #views: HostView[] = [];
  #indexes = new Map<string, number>();

  constructor(hosts: EntityCollection<HostRecord, Host>, ledgers: Collection<Ledger>) {
    this.#hosts = hosts;
    this.#ledgers = ledgers;
  }

  /** All hosts, in no order that matters. */
  views(): readonly HostView[] {
    return this.#views;
  }

  records(): HostRecord[] {
    return [...this.#entries.values()].map(({ record }) => record);
  }

  record(hostUid: string): HostRecord | undefined {
    return this.#entries.get(hostUid)?.record;
  }

  ledger(hostUid: string): Ledger | undefined {
    return this.#entries.get(hostUid)?.ledger;
  }

  hostChanged({ id, value }: Stored<HostRecord>): void {
    const ledger = this.#entries.get(id)?.ledger;
    if (ledger !== undefined) this.#put(id, { record: value, ledger });
  }

  /** A host is known once it has a ledger. */
  added(host: Stored<HostRecord>, ledger: Ledger): void {
    this.#put(host.id, { record: host.value, ledger });
  }

  ledgerChanged(hostUid: string, ledger: Ledger): void {
    const record = this.#entries.get(hostUid)?.record;
    if (record !== undefined) this.#put(hostUid, { record, ledger });
  }

  removed(hostUid: string): void {
    if (!this.#entries.delete(hostUid)) return;
    this.#rebuild(this.#entries);
  }

  /** Reads everything anew. */
  async resync(): Promise<void> {
    const entries = new Map<string, Entry>();
    let cursor: string | undefined;
    do {
      const page = await this.#hosts.find({ limit: pageSize, ...(cursor !== undefined && { cursor }) });
      const ledgers = await this.#ledgers.getMany(page.items.map(({ id }) => id));
      const byId = new Map(ledgers.map(({ id, value }) => [id, value]));
      for (const { id, value } of page.items) {
        const ledger = byId.get(id);
        if (ledger !== undefined) entries.set(id, { record: value, ledger });
      }
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    this.#rebuild(entries);
  }

  #put(hostUid: string, entry: Entry): void {
    this.#entries.set(hostUid, entry);
    const index = this.#indexes.get(hostUid) ?? this.#views.length;
    this.#indexes.set(hostUid, index);
    this.#views[index] = viewOf(entry);
  }

  #rebuild(entries: Map<string, Entry>): void {
    this.#entries = entries;
    this.#views = [...entries.values()].map(viewOf);
    this.#indexes = new Map(this.#views.map(({ uid }, index) => [uid, index]));
  }
}

function viewOf({ record, ledger }: Entry): HostView {
  const { header, link, admin, health, facts } = record;
  return {
    uid: header.uid,
    displayName: header.displayName,
    zone: header.zone,
    architecture: facts.architecture,
    link,
    admin,
    health,
    total: totalOf(ledger),
    free: freeOf(ledger),
  };
}
