// What the tests share: a store on disk, an entity in it, and the oracle that counts what a subscriber saw.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Zone } from '@nephos/proto/nephos/orchestration/v1/zone';
import { systemClock } from '@nephos/service';
import { openStore, type Store, type Stored } from '@nephos/store';
import {
  type Bus,
  connectBus,
  defineEntity,
  type EntityCollection,
  type EntityEvent,
  openEntity,
} from '../src/index.ts';

const silent = (): void => undefined;
export const context = {
  name: 'test',
  clock: systemClock,
  log: { debug: silent, info: silent, warn: silent, error: silent },
};

export interface ZoneRecord {
  readonly owner: string;
  readonly description: string;
  /** Not public. */
  readonly private?: number;
}

export const zoneEntity = defineEntity<ZoneRecord, Zone>({
  entity: 'zone',
  collection: 'zones',
  message: Zone,
  store: { name: 'zones', schemaVersion: 1, indexes: {} },
  toMessage: ({ id, value, eventSeq, revision }: Stored<ZoneRecord>) =>
    Zone.create({
      header: { name: `zones/${id}`, uid: id, owner: value.owner, etag: `${eventSeq}-${revision}` },
      description: value.description,
    }),
  place: ({ owner }) => ({ owner, zone: '' }),
});

export type Zones = EntityCollection<ZoneRecord, Zone>;

export interface Ground extends AsyncDisposable {
  readonly folder: string;
  readonly url: string;
  readonly store: Store;
  readonly zones: Zones;
}

/** A fresh store with the entity in it. */
export async function openGround(): Promise<Ground> {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-events-'));
  const url = `sqlite://${folder}/store.db`;
  const store = await openStore({ url, clock: systemClock });
  const zones = await openEntity(store, zoneEntity, { source: 'test', clock: systemClock });
  return {
    folder,
    url,
    store,
    zones,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export function busAt(url: string): Promise<Bus> {
  return connectBus({ ...context, nats: url, verifyMs: 500 });
}

export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`never came true: ${what}`);
    await systemClock.sleep(10);
  }
}

/** Counts what was lost, doubled or out of order, against each entity's stored counter. */
export class Oracle {
  readonly #seen = new Map<string, { first: number; last: number }[]>();

  see({ uid, firstSequence, sequence }: EntityEvent): void {
    const ranges = this.#seen.get(uid) ?? [];
    ranges.push({ first: firstSequence, last: sequence });
    this.#seen.set(uid, ranges);
  }

  get events(): number {
    return [...this.#seen.values()].reduce((sum, ranges) => sum + ranges.length, 0);
  }

  /** The highest sequence seen of an entity. */
  last(uid: string): number {
    return Math.max(0, ...(this.#seen.get(uid) ?? []).map(({ last }) => last));
  }

  judge(counters: ReadonlyMap<string, number>): { lost: number; doubled: number; disordered: number } {
    let [lost, doubled, disordered] = [0, 0, 0];
    for (const [uid, counter] of counters) {
      const covered = new Set<number>();
      let last = 0;
      for (const range of this.#seen.get(uid) ?? []) {
        if (covered.has(range.last)) doubled += 1;
        else if (range.last < last) disordered += 1;
        for (let sequence = range.first; sequence <= range.last; sequence += 1) covered.add(sequence);
        last = Math.max(last, range.last);
      }
      for (let sequence = 1; sequence <= counter; sequence += 1) if (!covered.has(sequence)) lost += 1;
    }
    return { lost, doubled, disordered };
  }
}

/** The counters that the store holds. */
export async function countersOf(zones: Zones): Promise<Map<string, number>> {
  const counters = new Map<string, number>();
  let cursor: string | undefined;
  do {
    const page = await zones.find({ limit: 500, ...(cursor !== undefined && { cursor }) });
    for (const { id, eventSeq } of page.items) counters.set(id, eventSeq);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return counters;
}

export const nothingWrong = { lost: 0, doubled: 0, disordered: 0 };
