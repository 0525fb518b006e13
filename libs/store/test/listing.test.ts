/** Lists: whatever the filter and the page size, following the tokens gives each match once, newest first. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import fc from 'fast-check';
import {
  type Collection,
  defineCollection,
  enumField,
  listPage,
  openStore,
  type Store,
} from '../src/index.ts';

interface Thing {
  readonly owner: string;
  readonly state: 'up' | 'drain-blocked';
  readonly size: number;
  readonly labels: Readonly<Record<string, string>>;
}

const things = defineCollection<Thing>({
  name: 'things',
  schemaVersion: 1,
  indexes: { owner: { fields: ['owner'] }, state: { fields: ['state'] } },
});
const fields = {
  owner: { path: 'owner', type: 'string' },
  state: enumField('state', ['up', 'drain-blocked']),
  size: { path: 'size', type: 'number' },
  labels: { path: 'labels', type: 'map' },
} as const;

const count = 700;
let folder: string;
let store: Store;
let collection: Collection<Thing>;
const all: (Thing & { readonly id: string })[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-listing-'));
  store = await openStore({ url: `sqlite://${path.join(folder, 'a.db')}`, clock: systemClock });
  collection = await store.collection(things);
  const writes = Array.from({ length: count }, (_, index) => {
    const value: Thing = {
      owner: `owner-${index % 5}`,
      state: index % 3 === 0 ? 'up' : 'drain-blocked',
      size: index % 11,
      labels: index % 2 === 0 ? { tier: 'web' } : {},
    };
    const id = String(index).padStart(6, '0');
    all.push({ id, ...value });
    return { kind: 'insert', id, value } as const;
  });
  await collection.batch(writes);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const conditions = [
  { text: 'owner = "owner-2"', holds: (thing: Thing) => thing.owner === 'owner-2' },
  { text: 'owner = "owner-*"', holds: (thing: Thing) => thing.owner.startsWith('owner-') },
  { text: 'state = "DRAIN_BLOCKED"', holds: (thing: Thing) => thing.state === 'drain-blocked' },
  { text: 'size > 8', holds: (thing: Thing) => thing.size > 8 },
  { text: 'size <= 1', holds: (thing: Thing) => thing.size <= 1 },
  { text: 'labels.tier = "web"', holds: (thing: Thing) => thing.labels['tier'] === 'web' },
];

async function collect(filter: string, pageSize: number): Promise<string[]> {
  const ids: string[] = [];
  let pageToken = '';
  do {
    const page = await listPage(
      collection,
      { filter, pageSize, pageToken },
      { indexes: things.indexes, fields },
    );
    expect(page.items.length).toBeLessThanOrEqual(pageSize);
    ids.push(...page.items.map(({ id }) => id));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return ids;
}

test('every filter and page size gives just the matches, newest first', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.nat(conditions.length - 1), { maxLength: 4 }),
      fc.integer({ min: 1, max: 500 }),
      async (chosen, pageSize) => {
        const used = chosen.map((index) => conditions[index] as (typeof conditions)[number]);
        const wanted = all.filter((thing) => used.every(({ holds }) => holds(thing))).map(({ id }) => id);
        const filter = used.map(({ text }) => text).join(' AND ');
        expect(await collect(filter, pageSize)).toEqual(wanted.reverse());
      },
    ),
    { numRuns: 60 },
  );
});

test('a token is only good for its own query', async () => {
  const options = { indexes: things.indexes, fields };
  const first = await listPage(collection, { filter: 'size > 1', pageSize: 5, pageToken: '' }, options);
  const other = { filter: 'size > 2', pageSize: 5, pageToken: first.nextPageToken };
  await expect(listPage(collection, other, options)).rejects.toMatchObject({ reason: 'PAGE_TOKEN_INVALID' });
  const hidden = { key: 'small', matches: ({ size }: Thing) => size < 5 };
  const same = { filter: 'size > 1', pageSize: 5, pageToken: first.nextPageToken };
  await expect(listPage(collection, same, { ...options, where: hidden })).rejects.toMatchObject({
    reason: 'PAGE_TOKEN_INVALID',
  });
});

test('the method’s own condition hides documents in every page', async () => {
  const where = { key: 'even', matches: ({ size }: Thing) => size % 2 === 0 };
  const page = await listPage(
    collection,
    { filter: '', pageSize: 500, pageToken: '' },
    { indexes: things.indexes, fields, where },
  );
  expect(page.items.every(({ value }) => value.size % 2 === 0)).toBe(true);
  expect(page.items).toHaveLength(all.filter(({ size }) => size % 2 === 0).length);
});

test('what is written or removed while a page is made neither repeats a match nor hides one', async () => {
  const mixed = await store.collection(defineCollection<Thing>({ ...things, name: 'mixed' }));
  const value: Thing = { owner: 'one', state: 'up', size: 1, labels: {} };
  const idOf = (index: number): string => String(index).padStart(6, '0');
  for (let index = 100; index < 120; index += 1) await mixed.insert(idOf(index), value);
  let next = 200;
  const removed = new Set<string>();
  // As other calls would between two reads of the same list: one comes in front, one that was told goes.
  const busy = {
    async find(query: Parameters<typeof mixed.find>[0]) {
      const page = await mixed.find(query);
      await mixed.insert(idOf(next++), { ...value, size: 2 });
      const [gone] = page.items;
      if (gone !== undefined) {
        removed.add(gone.id);
        await mixed.remove(gone.id);
      }
      return page;
    },
  };
  const seen: string[] = [];
  let pageToken = '';
  do {
    const request = { filter: 'size = 1', pageSize: 3, pageToken };
    const page = await listPage(busy, request, { indexes: things.indexes, fields });
    seen.push(...page.items.map(({ id }) => id));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen).toEqual(Array.from({ length: 20 }, (_, at) => idOf(119 - at)));
  expect(removed.size).toBeGreaterThan(0);
});
