/**
 * The planner's picture of all hosts, in memory: records and ledgers folded into views. Owner: each orchestrator
 * its own; fed by whoever writes a host or a ledger here, by fleet-follower.ts with what other instances write, and
 * read anew from the store now and then, so that a missed change heals. It may be stale: a plan is a proposal, and
 * only the claim counts. A crash loses nothing.
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
  #reading: Promise<void> | undefined;
  #nextReading: Promise<void> | undefined;

  readonly #shared: boolean;

  /** `shared`: other instances write the same hosts and ledgers. */
  constructor(
    hosts: EntityCollection<HostRecord, Host>,
    ledgers: Collection<Ledger>,
    options: { readonly shared?: boolean } = {},
  ) {
    this.#hosts = hosts;
    this.#ledgers = ledgers;
    this.#shared = options.shared ?? false;
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

  /** Reads everything anew. A reading that has not begun yet serves all who ask meanwhile. */
  resync(): Promise<void> {
    if (this.#reading === undefined) return this.#beginReading();
    this.#nextReading ??= this.#reading.then(
      () => this.#beginReading(),
      () => this.#beginReading(),
    );
    return this.#nextReading;
  }

  #beginReading(): Promise<void> {
    this.#nextReading = undefined;
    const reading = this.#resync().finally(() => {
      if (this.#reading === reading) this.#reading = undefined;
    });
    this.#reading = reading;
    return reading;
  }

  /** The picture is not behind the store in what was written before this; of some hosts, or of all. */
  async catchUp(hostUids?: readonly string[]): Promise<void> {
    if (!this.#shared) return;
    await (hostUids ? this.refresh(hostUids) : this.resync());
  }

  /** Reads these hosts anew. True where a host came or went. */
  async refresh(hostUids: readonly string[]): Promise<boolean> {
    return await this.#noting(async (changed) => {
      const entries = await this.#entriesOf(await this.#hosts.getMany(hostUids));
      let membership = false;
      for (const hostUid of hostUids) {
        const [read, known] = [entries.get(hostUid), this.#entries.get(hostUid)];
        // Changed here while it was read: what was read of its coming or going may be old.
        if ((read === undefined) !== (known === undefined) && changed.has(hostUid)) continue;
        membership ||= (read === undefined) !== (known === undefined);
        if (read === undefined) this.removed(hostUid);
        else this.#put(hostUid, newest(read, known));
      }
      return membership;
    });
  }

  async #resync(): Promise<void> {
    await this.#noting(async (changed) => {
      const entries = await this.#read();
      for (const hostUid of changed) {
        const known = this.#entries.get(hostUid);
        if (known === undefined) entries.delete(hostUid);
        else entries.set(hostUid, known);
      }
      this.#rebuild(entries);
    });
  }

  /** `work` is told which hosts change while it reads. */
  async #noting<R>(work: (changed: ReadonlySet<string>) => Promise<R>): Promise<R> {
    const changed = new Set<string>();
    this.#resyncs.add(changed);
    try {
      return await work(changed);
    } finally {
      this.#resyncs.delete(changed);
    }
  }

  async #read(): Promise<Map<string, Entry>> {
    const all = new Map<string, Entry>();
    for await (const page of pagesOf(this.#hosts, { limit: pageSize })) {
      for (const [hostUid, entry] of await this.#entriesOf(page)) all.set(hostUid, entry);
    }
    return all;
  }

  async #entriesOf(hosts: readonly Stored<HostRecord>[]): Promise<Map<string, Entry>> {
    const ledgers = await this.#ledgers.getMany(hosts.map(({ id }) => id));
    const byId = new Map(ledgers.map((ledger) => [ledger.id, ledger]));
    const entries = new Map<string, Entry>();
    for (const host of hosts) {
      const ledger = byId.get(host.id);
      if (ledger !== undefined) entries.set(host.id, { host, ledger });
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

function newest(read: Entry, known: Entry | undefined): Entry {
  if (known === undefined) return read;
  return { host: newer(read.host, known.host), ledger: newer(read.ledger, known.ledger) };
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
