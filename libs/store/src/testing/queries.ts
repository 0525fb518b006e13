// Finding: conditions, order, paging while the collection changes, cursors that were meddled with.

import { describe, expect, test } from '@jest/globals';
import { Invalid } from '@nephos/service';
import type { Collection, Query } from '../collection.ts';
import { type OpenFresh, type Part, parts, withStore } from './fixture.ts';

async function idsOf(collection: Collection<Part>, query: Omit<Query, 'limit'>): Promise<string> {
  const { items } = await collection.find({ ...query, limit: 100 });
  return items.map((one) => one.id).join('');
}

/** All pages, calling `between` after each. */
async function pages(
  collection: Collection<Part>,
  query: Query,
  between: (page: number) => Promise<void> = async () => {},
): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  for (let page = 1; ; page += 1) {
    const found = await collection.find({ ...query, ...(cursor === undefined ? {} : { cursor }) });
    ids.push(...found.items.map((one) => one.id));
    if (found.nextCursor === undefined) return ids;
    cursor = found.nextCursor;
    await between(page);
  }
}

export function queryTests(openFresh: OpenFresh): void {
  describe('find', () => {
    test('serves equality, ranges, prefixes and choices in index order', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        await Promise.all([
          collection.insert('a', { owner: 'x', rank: 3, label: 'ab' }),
          collection.insert('b', { owner: 'x', rank: 1, label: 'abc' }),
          collection.insert('c', { owner: 'y', rank: 2, label: 'b%' }),
          collection.insert('d', { owner: 'x', rank: 10, label: 'ab\uffff' }),
          collection.insert('e', { owner: 'x', label: 'ab\u{1f600}' }),
          collection.insert('f', { owner: 'x', rank: 1, label: 'ac', spec: { size: 2, hidden: false } }),
          collection.insert('g', { spec: { size: -1, hidden: true } }),
        ]);
        expect(await idsOf(collection, {})).toBe('abcdefg');
        expect(await idsOf(collection, { descending: true })).toBe('gfedcba');
        expect(await idsOf(collection, { where: { owner: 'x' }, orderBy: 'byOwnerAndRank' })).toBe('bfad');
        expect(await idsOf(collection, { orderBy: 'byOwnerAndRank', descending: true })).toBe('cdafb');
        expect(await idsOf(collection, { where: { owner: 'x', rank: 1 } })).toBe('bf');
        expect(await idsOf(collection, { where: { owner: 'x', rank: { gt: 1, lte: 10 } } })).toBe('ad');
        expect(await idsOf(collection, { where: { owner: 'x', rank: { lt: 3 } } })).toBe('bf');
        expect(await idsOf(collection, { where: { owner: { in: ['y', 'x'] }, rank: { gte: 2 } } })).toBe(
          'adc',
        );
        expect(await idsOf(collection, { where: { label: { prefix: 'ab' } } })).toBe('abde');
        expect(await idsOf(collection, { where: { label: { prefix: 'b%' } } })).toBe('c');
        expect(await idsOf(collection, { where: { label: { prefix: '_' } } })).toBe('');
        expect(await idsOf(collection, { where: { label: { gte: 'abc', lt: 'b' } } })).toBe('bdef');
        expect(await idsOf(collection, { where: { label: { in: [] } } })).toBe('');
        expect(await idsOf(collection, { where: { 'spec.size': { gte: -1 } } })).toBe('gf');
        expect(await idsOf(collection, { where: { 'spec.hidden': true } })).toBe('g');
        expect(await idsOf(collection, { where: { id: { gt: 'b', lte: 'd' } } })).toBe('cd');
        expect(await idsOf(collection, { where: { id: { in: ['f', 'a', 'z'] } } })).toBe('af');
        expect(await idsOf(collection, { where: { owner: 'x', rank: 1, id: { gt: 'b' } } })).toBe('f');
        expect(await collection.count({ owner: 'x', rank: { gte: 1 } })).toBe(4);
        expect(await collection.count()).toBe(7);
      }));

    test('ranges stay within the type of their bounds', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        await collection.insert('n', { label: 5 as unknown as string });
        await collection.insert('s', { label: '5' });
        expect(await idsOf(collection, { where: { label: { gte: 0 } } })).toBe('n');
        expect(await idsOf(collection, { where: { label: { lte: '9' } } })).toBe('s');
        expect(await idsOf(collection, { where: { label: '5' } })).toBe('s');
        expect(await idsOf(collection, { where: { label: { prefix: '' } } })).toBe('s');
      }));

    test('refuses what no index serves', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        const refused: Omit<Query, 'limit'>[] = [
          { where: { note: 'x' } },
          { where: { owner: 'x' } },
          { where: { rank: 1 }, orderBy: 'byOwnerAndRank' },
          { where: { owner: { gt: 'a' }, rank: 1 } },
          { where: { owner: 'x', rank: 1, label: 'l' } },
          { where: { label: 'x' }, orderBy: 'byName' },
          { where: { label: 'x' }, orderBy: 'id' },
          { orderBy: 'none' },
          { orderBy: 'constructor' },
          { where: { label: {} } },
          { where: { label: { gt: 'a', gte: 'b' } } },
          { where: { label: { gt: 'a', lt: 1 } } },
          { where: { label: Number.NaN } },
          { where: { 'label"': 'x' } },
        ];
        for (const query of refused) {
          await expect(collection.find({ ...query, limit: 1 })).rejects.toBeInstanceOf(Invalid);
        }
        for (const limit of [0, -1, 1.5, 1001, Number.NaN]) {
          await expect(collection.find({ limit })).rejects.toBeInstanceOf(Invalid);
        }
      }));

    test('pages give each document that stays once, whatever comes and goes', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        const id = (n: number): string => String(n).padStart(3, '0');
        const rank = (n: number): number => n % 5;
        for (let n = 0; n < 60; n += 2) await collection.insert(id(n), { owner: 'x', rank: rank(n) });
        const staying = (seen: string[]): string[] => seen.filter((one) => Number(one) % 4 === 0);
        const expected = Array.from({ length: 15 }, (_, n) => n * 4).toSorted(
          (a, b) => rank(a) - rank(b) || a - b,
        );
        for (const descending of [false, true]) {
          const query = { where: { owner: 'x' }, orderBy: 'byOwnerAndRank', descending, limit: 4 };
          const seen = await pages(collection, query, async (page) => {
            const come = 100 * (descending ? 2 : 1) + page;
            await collection.insert(id(come), { owner: 'x', rank: rank(page) });
            const goes = (await collection.get(id(page * 4 - 2))) ?? (await collection.get(id(come)));
            if (goes !== undefined) await collection.remove(goes.id);
          });
          expect(new Set(seen).size).toBe(seen.length);
          const order = descending ? expected.toReversed() : expected;
          expect(staying(seen.filter((one) => Number(one) < 60))).toEqual(order.map(id));
        }
      }));

    test('pages go through every kind of index', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        for (let n = 0; n < 25; n += 1) {
          const value = {
            name: `n${n % 7}${n}`,
            owner: `o${n % 3}`,
            rank: n % 4,
            label: `l${n}`,
            spec: { size: 1 },
          };
          await collection.insert(`i${n}`, { ...value, spec: { size: n % 2, hidden: n % 2 === 0 } });
        }
        const queries: Omit<Query, 'limit'>[] = [
          {},
          { orderBy: 'byName' },
          { orderBy: 'byOwnerAndLabel' },
          { orderBy: 'byOwnerAndRank' },
          { where: { owner: 'o1' }, orderBy: 'byOwnerAndLabel' },
          { where: { owner: { in: ['o2', 'o0'] } }, orderBy: 'byOwnerAndRank' },
          { where: { 'spec.hidden': { in: [true, false] } } },
          { where: { name: { prefix: 'n' } } },
        ];
        for (const query of queries) {
          for (const descending of [false, true]) {
            const whole = await collection.find({ ...query, descending, limit: 100 });
            expect(whole.items.length).toBeGreaterThan(7);
            expect(whole.nextCursor).toBeUndefined();
            const paged = await pages(collection, { ...query, descending, limit: 3 });
            expect(paged).toEqual(whole.items.map((one) => one.id));
          }
        }
      }));

    test('a cursor that was altered, or is of another query, is refused', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        for (const id of ['a', 'b', 'c']) await collection.insert(id, { owner: 'x', rank: 1, label: id });
        const query = { where: { owner: 'x' }, orderBy: 'byOwnerAndRank', limit: 1 };
        const cursor = (await collection.find(query)).nextCursor as string;
        expect((await collection.find({ ...query, limit: 2, cursor })).items.map((one) => one.id)).toEqual([
          'b',
          'c',
        ]);
        const invalid = { reason: 'PAGE_TOKEN_INVALID' };
        for (let position = 0; position < cursor.length; position += 1) {
          const other = cursor[position] === 'A' ? 'B' : 'A';
          const altered = cursor.slice(0, position) + other + cursor.slice(position + 1);
          await expect(collection.find({ ...query, cursor: altered })).rejects.toMatchObject(invalid);
        }
        for (const altered of ['', 'x', '!!', `${cursor}!`, `${cursor}AAAA`, cursor.slice(0, -2), 'W10']) {
          await expect(collection.find({ ...query, cursor: altered })).rejects.toMatchObject(invalid);
        }
        const others: Query[] = [
          { where: { owner: 'y' }, orderBy: 'byOwnerAndRank', limit: 1 },
          { ...query, descending: true },
          { limit: 1 },
          { where: { owner: 'x' }, orderBy: 'byOwnerAndLabel', limit: 1 },
        ];
        for (const other of others) {
          await expect(collection.find({ ...other, cursor })).rejects.toMatchObject(invalid);
        }
      }));
  });
}
