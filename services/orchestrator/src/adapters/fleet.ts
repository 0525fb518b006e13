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
import { pagesOf } from '../pages-of.ts';
import type { HostRecord } from '../records/host.ts';

const pageSize = 500;

interface Entry {
  readonly host: Stored<HostRecord>;
  readonly ledger: Stored<Ledger>;
}

export class Fleet {
  readonly #hosts: EntityCollection<HostRecord, Host>;
  readonly #ledgers: Collection<Ledger>;
  #entries = new Map<string, Entry>();
  #views: HostView[] = [];
  #indexes = new Map<string, number>();
  /** Hosts that changed since a resync began, one set for each that is under way: what it read of them may be old. */
  readonly #resyncs = new Set<Set<string>>();

  constructor(hosts: EntityCollection<HostRecord, Host>, ledgers: Collection<Ledger>) {
    this.#hosts = hosts;
    this.#ledgers = ledgers;
  }

  /** All hosts, in no order that matters. */
  views(): readonly HostView[] {
    return this.#views;
  }

  records(): HostRecord[] {
    return [...this.#entries.values()].map(({ host }) => host.value);
  }

  record(hostUid: string): HostRecord | undefined {
    return this.#entries.get(hostUid)?.host.value;
  }

  ledger(hostUid: string): Ledger | undefined {
    return this.#entries.get(hostUid)?.ledger.value;
  }

  hostChanged(host: Stored<HostRecord>): void {
    const known = this.#entries.get(host.id);
    if (known !== undefined) this.#put(host.id, { host: newer(host, known.host), ledger: known.ledger });
  }

  /** A host is known once it has a ledger. */
  added(host: Stored<HostRecord>, ledger: Stored<Ledger>): void {
    this.#put(host.id, { host, ledger });
  }

  ledgerChanged(hostUid: string, ledger: Stored<Ledger>): void {
    const known = this.#entries.get(hostUid);
    if (known !== undefined) this.#put(hostUid, { host: known.host, ledger: newer(ledger, known.ledger) });
  }

  removed(hostUid: string): void {
    this.#changed(hostUid);
    if (!this.#entries.delete(hostUid)) return;
    this.#rebuild(this.#entries);
  }

  /** Reads everything anew. */
  async resync(): Promise<void> {
    const changed = new Set<string>();
    this.#resyncs.add(changed);
    try {
      const entries = await this.#read();
      for (const hostUid of changed) {
        const known = this.#entries.get(hostUid);
        if (known === undefined) entries.delete(hostUid);
        else entries.set(hostUid, known);
      }
      this.#rebuild(entries);
    } finally {
      this.#resyncs.delete(changed);
    }
  }

  async #read(): Promise<Map<string, Entry>> {
    const entries = new Map<string, Entry>();
    for await (const page of pagesOf(this.#hosts, { limit: pageSize })) {
      const ledgers = await this.#ledgers.getMany(page.map(({ id }) => id));
      const byId = new Map(ledgers.map((ledger) => [ledger.id, ledger]));
      for (const host of page) {
        const ledger = byId.get(host.id);
        if (ledger !== undefined) entries.set(host.id, { host, ledger });
      }
    }
    return entries;
  }

  #changed(hostUid: string): void {
    for (const changed of this.#resyncs) changed.add(hostUid);
  }

  #put(hostUid: string, entry: Entry): void {
    this.#changed(hostUid);
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

/** Answers of the store may be handed on in another order than they were given. */
function newer<T>(next: Stored<T>, known: Stored<T>): Stored<T> {
  return next.revision < known.revision ? known : next;
}

function viewOf({ host, ledger }: Entry): HostView {
  const { header, link, admin, health, facts } = host.value;
  return {
    uid: header.uid,
    displayName: header.displayName,
    zone: header.zone,
    architecture: facts.architecture,
    link,
    admin,
    health,
    total: totalOf(ledger.value),
    free: freeOf(ledger.value),
  };
}
