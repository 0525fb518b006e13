// Versions of one collection that meet in one database: one back and one forward are read, further is an error.
import { describe, expect, test } from '@jest/globals';
import { Precondition } from '@nephos/service';
import type { Json } from '../collection.ts';
import { defineCollection } from '../definition.ts';
import { type OpenFresh, opened } from './fixture.ts';

interface Named {
  readonly name: string;
  readonly [unknownField: string]: Json;
}

const indexes = { byName: { fields: ['name'] } };
const at = (schemaVersion: number) => defineCollection<Named>({ name: 'named', schemaVersion, indexes });

const second = defineCollection<Named>({
  name: 'named',
  schemaVersion: 2,
  indexes: { byTitle: { fields: ['title'] } },
  upgrade: (raw, from) => ({ ...(raw as Named), title: `${(raw as Named).name} of ${from}` }),
});

export function schemaTests(openFresh: OpenFresh): void {
  describe('schema versions', () => {
    test('the version before is upgraded on reading and written as ours', async () => {
      const fresh = await openFresh();
      try {
        await opened(fresh, async (store) => {
          const old = await store.collection(at(1));
          await old.insert('one', { name: 'a', extra: { kept: [1, null] } });
        });
        await opened(fresh, async (store) => {
          const collection = await store.collection(second);
          const read = await collection.get('one');
          const value = { name: 'a', extra: { kept: [1, null] }, title: 'a of 1' };
          expect(read).toEqual({ id: 'one', revision: 1, eventSeq: 0, value });
          await collection.modify('one', (current) => ({ value: current.value }));
          expect((await collection.find({ where: { title: 'a of 1' }, limit: 1 })).items).toHaveLength(1);
        });
        await opened(fresh, async (store) => {
          await expect((await store.collection(at(4))).get('one')).rejects.toThrow('schema version 2');
        });
      } finally {
        await fresh.destroy();
      }
    });

    test('the version after is read as it is, and written back under its version with its fields', async () => {
      const fresh = await openFresh();
      try {
        await opened(fresh, async (store) => {
          await (await store.collection(at(3))).insert('one', { name: 'a', future: true });
        });
        await opened(fresh, async (store) => {
          const collection = await store.collection(second);
          expect((await collection.get('one'))?.value).toEqual({ name: 'a', future: true });
          await collection.modify('one', ({ value }) => ({ value: { ...value, name: 'b' } }));
        });
        await opened(fresh, async (store) => {
          const collection = await store.collection(at(1));
          await expect(collection.get('one')).rejects.toThrow('schema version 3');
          await expect(collection.update('one', 2, { name: 'c' })).rejects.toThrow('schema version 3');
          await expect(collection.remove('one')).rejects.toThrow('schema version 3');
        });
        await opened(fresh, async (store) => {
          const stored = await (await store.collection(at(4))).get('one');
          expect(stored?.value).toEqual({ name: 'b', future: true });
        });
      } finally {
        await fresh.destroy();
      }
    });

    test('indexes follow the definition: new ones cover old documents, dropped ones bind no longer', async () => {
      const fresh = await openFresh();
      const define = (declared: Record<string, { fields: string[]; unique?: boolean }>) =>
        defineCollection<Json>({ name: 'shifting', schemaVersion: 1, indexes: declared });
      try {
        await opened(fresh, async (store) => {
          const collection = await store.collection(define({ byA: { fields: ['a'], unique: true } }));
          await collection.insert('one', { a: 1, b: 'x', c: { d: [] } });
          await collection.insert('two', { a: 2, b: 'x' });
        });
        await opened(fresh, async (store) => {
          const collection = await store.collection(
            define({ byB: { fields: ['b'] }, byD: { fields: ['c.d'] } }),
          );
          expect((await collection.find({ where: { b: 'x' }, limit: 9 })).items).toHaveLength(2);
          expect((await collection.find({ orderBy: 'byD', limit: 9 })).items).toHaveLength(0);
          await collection.insert('three', { a: 2, b: 'y' });
        });
        await opened(fresh, async (store) => {
          const unique = define({ byA: { fields: ['a'], unique: true } });
          await expect(store.collection(unique)).rejects.toBeInstanceOf(Precondition);
          const collection = await store.collection(define({ byA: { fields: ['a'] } }));
          expect((await collection.find({ where: { a: 2 }, limit: 9 })).items).toHaveLength(2);
        });
      } finally {
        await fresh.destroy();
      }
    });
  });
}
