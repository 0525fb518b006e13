// Single documents: reading and writing, uniqueness, compare-and-set, batches.

import { describe, expect, test } from '@jest/globals';
import { AlreadyExists, Conflict, Invalid, NotFound } from '@nephos/service';
import { defineCollection } from '../definition.ts';
import { type OpenFresh, parts, withStore } from './fixture.ts';

export function documentTests(openFresh: OpenFresh): void {
  test('a document comes back as it was written', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      const value = { name: 'a"\'\\ü😀', spec: { size: 1.5, hidden: true }, note: 'x'.repeat(100_000) };
      expect(await collection.insert('one', value)).toEqual({ id: 'one', revision: 1, eventSeq: 0, value });
      expect(await collection.get('one')).toEqual({ id: 'one', revision: 1, eventSeq: 0, value });
      expect(await collection.get('two')).toBeUndefined();
      const second = await collection.update('one', 1, { name: 'b' });
      expect(second).toEqual({ id: 'one', revision: 2, eventSeq: 0, value: { name: 'b' } });
      expect(await collection.get('one')).toEqual(second);
      await collection.insert('two', {});
      expect((await collection.getMany(['two', 'none', 'one', 'two'])).map((one) => one.id)).toEqual([
        'two',
        'one',
        'two',
      ]);
      expect(await collection.getMany([])).toEqual([]);
      await store.ping();
    }));

  test('an id is taken once, and again after its removal', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      await collection.insert('one', { name: 'n' });
      const taken = collection.insert('one', { name: 'n' });
      await expect(taken).rejects.toBeInstanceOf(AlreadyExists);
      await expect(taken).rejects.toMatchObject({ details: { metadata: { index: 'id' } } });
      await collection.remove('one', 1);
      expect(await collection.get('one')).toBeUndefined();
      expect(await collection.count()).toBe(0);
      await expect(collection.remove('one')).rejects.toBeInstanceOf(NotFound);
      await expect(collection.update('one', 2, {})).rejects.toBeInstanceOf(NotFound);
      await expect(collection.modify('one', () => ({ value: {} }))).rejects.toBeInstanceOf(NotFound);
      expect(await collection.insert('one', { note: 'again' })).toMatchObject({ revision: 3 });
    }));

  test('an insert can refuse an id that was removed', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      const fresh = { fresh: true };
      expect(await collection.insert('one', { name: 'n' }, 'created', fresh)).toMatchObject({ revision: 1 });
      const ofId = { details: { metadata: { index: 'id' } } };
      await expect(collection.insert('one', {}, 'late', fresh)).rejects.toMatchObject(ofId);
      await collection.remove('one', 1, 'deleted');
      await collection.insert('two', { name: 'n' });
      for (const value of [{}, { name: 'n' }]) {
        const late = collection.insert('one', value, 'late', fresh);
        await expect(late).rejects.toBeInstanceOf(AlreadyExists);
        await expect(late).rejects.toMatchObject(ofId);
      }
      const [result] = await collection.batch([{ kind: 'insert', id: 'one', value: {}, fresh: true }]);
      expect(result).toMatchObject({ ok: false, error: ofId });
      expect(await collection.get('one')).toBeUndefined();
      expect((await store.outbox.pending({ limit: 9 }))[0]?.events).toMatchObject([{ seq: 1 }, { seq: 2 }]);
      expect(await collection.insert('one', {}, 'created')).toMatchObject({ revision: 3, eventSeq: 3 });
    }));

  test('a unique index refuses a second document and says which index', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      await collection.insert('one', { name: 'same', owner: 'o', label: 'l' });
      await collection.insert('two', { name: 'other', owner: 'o', label: 'm' });
      const byName = { details: { metadata: { index: 'byName' } } };
      await expect(collection.insert('three', { name: 'same' })).rejects.toMatchObject(byName);
      await expect(collection.update('two', 1, { name: 'same' })).rejects.toMatchObject(byName);
      await expect(collection.insert('three', { owner: 'o', label: 'l' })).rejects.toMatchObject({
        details: { metadata: { index: 'byOwnerAndLabel' } },
      });
      expect(await collection.get('two')).toMatchObject({ revision: 1, value: { name: 'other' } });
      await collection.update('one', 1, { name: 'same', note: 'itself is no other' });
      await collection.remove('one');
      await collection.insert('three', { name: 'same', owner: 'o', label: 'l' });
    }));

  test('a unique index does not bind documents that lack a field', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      await collection.insert('one', {});
      await collection.insert('two', { name: null });
      await collection.insert('three', { owner: 'o' });
      await collection.insert('four', { owner: 'o', name: null });
      expect(await collection.count()).toBe(4);
    }));

  test('malformed ids, field values and definitions are refused', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      for (const id of ['', 'a\0b', '\ud800', 'x'.repeat(600)]) {
        await expect(collection.insert(id, {})).rejects.toBeInstanceOf(Invalid);
        await expect(collection.get(id)).rejects.toBeInstanceOf(Invalid);
      }
      const wrong = { spec: { size: { nested: 1 } } } as unknown as { spec: { size: number } };
      await expect(collection.insert('one', wrong)).rejects.toBeInstanceOf(Invalid);
      expect(await collection.count()).toBe(0);
      const define = (name: string, field: string) => () =>
        defineCollection({ name, schemaVersion: 1, indexes: { one: { fields: [field] } } });
      expect(define('Parts', 'a')).toThrow(Invalid);
      expect(define('parts"; --', 'a')).toThrow(Invalid);
      expect(define('parts', 'a"b')).toThrow(Invalid);
      expect(define('parts', 'id')).toThrow(Invalid);
      const other = defineCollection({ name: 'parts', schemaVersion: 1, indexes: {} });
      await expect(store.collection(other)).rejects.toBeInstanceOf(Invalid);
      expect(await store.collection(parts)).toBe(collection);
    }));
}

export function compareAndSetTests(openFresh: OpenFresh): void {
  test('an update with another revision is a conflict and changes nothing', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      await collection.insert('one', { rank: 1 }, { n: 1 });
      await collection.update('one', 1, { rank: 2 });
      await expect(collection.update('one', 1, { rank: 3 }, { n: 2 })).rejects.toBeInstanceOf(Conflict);
      await expect(collection.remove('one', 1, { n: 2 })).rejects.toBeInstanceOf(Conflict);
      expect(await collection.get('one')).toMatchObject({ revision: 2, eventSeq: 1, value: { rank: 2 } });
      expect((await store.outbox.pending({ limit: 10 }))[0]?.events).toHaveLength(1);
    }));

  test('an update may rest on fields instead', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      await collection.insert('one', { rank: 7, owner: 'o', spec: { size: 1, hidden: true } });
      const where = { rank: 7, 'spec.hidden': true, name: null };
      expect(await collection.update('one', { where }, { rank: 8, owner: 'o' })).toMatchObject({
        revision: 2,
      });
      await expect(collection.update('one', { where: { rank: 7 } }, {})).rejects.toBeInstanceOf(Conflict);
      await expect(collection.update('one', { where: { rank: '8' } }, {})).rejects.toBeInstanceOf(Conflict);
      await expect(collection.update('one', { where: { owner: null } }, {})).rejects.toBeInstanceOf(Conflict);
      await expect(collection.update('one', { where: { 'a"b': 1 } }, {})).rejects.toBeInstanceOf(Invalid);
      await expect(collection.remove('one', { where: { rank: 7 } })).rejects.toBeInstanceOf(Conflict);
      await collection.remove('one', { where: { rank: 8 } });
    }));

  test('fifty concurrent modifiers lose no change', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      await collection.insert('one', { rank: 0 });
      const count = (current: { value: { rank?: number } }, event: string) => ({
        value: { rank: (current.value.rank ?? 0) + 1 },
        event,
      });
      await Promise.all(
        Array.from({ length: 50 }, async (_, n) => {
          for (let turn = 0; turn < 4; turn += 1) {
            await collection.modify('one', (current) => count(current, `${n}.${turn}`));
          }
        }),
      );
      expect(await collection.get('one')).toMatchObject({
        revision: 201,
        eventSeq: 200,
        value: { rank: 200 },
      });
    }));

  test('of fifty concurrent updates of one revision one goes through', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      await collection.insert('one', { rank: 0 });
      const outcomes = await Promise.allSettled(
        Array.from({ length: 50 }, (_, n) => collection.update('one', 1, { rank: n + 1 })),
      );
      const kinds = outcomes.map((one) => (one.status === 'fulfilled' ? 'ok' : (one.reason as Error).name));
      expect(kinds.toSorted()).toEqual([...Array.from({ length: 49 }, () => 'Conflict'), 'ok']);
      expect(await collection.get('one')).toMatchObject({ revision: 2 });
    }));

  test('a modify retries behind plain updates, may leave the document alone, and passes on what it throws', () =>
    withStore(openFresh, async (store) => {
      const collection = await store.collection(parts);
      await collection.insert('one', { rank: 0 });
      let interfered: Promise<unknown> | undefined;
      const changed = await collection.modify('one', ({ value, revision }) => {
        interfered ??= collection.update('one', revision, { rank: 10 });
        return { value: { rank: (value.rank ?? 0) + 1 } };
      });
      await interfered;
      expect(changed).toMatchObject({ revision: 3, value: { rank: 11 } });
      expect(await collection.modify('one', () => undefined)).toEqual(changed);
      const broken = collection.modify('one', () => {
        throw new RangeError('mine');
      });
      await expect(broken).rejects.toThrow(RangeError);
      expect(await collection.modify('one', () => ({ value: {} }))).toMatchObject({ revision: 4 });
    }));
}

export function batchTests(openFresh: OpenFresh): void {
  describe('batch', () => {
    test('goes on behind what fails and answers each item', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        await collection.insert('there', { name: 'taken' });
        const results = await collection.batch([
          { kind: 'insert', id: 'a', value: { rank: 1 }, event: 'made' },
          { kind: 'insert', id: 'there', value: {} },
          { kind: 'insert', id: 'b', value: { name: 'taken' } },
          { kind: 'insert', id: '', value: {} },
          { kind: 'update', id: 'a', expected: 1, value: { rank: 2 }, event: 'changed' },
          { kind: 'update', id: 'a', expected: 1, value: { rank: 3 } },
          { kind: 'remove', id: 'none' },
          { kind: 'remove', id: 'there', expected: 1, event: 'gone' },
          { kind: 'insert', id: 'c', value: { name: 'taken' } },
        ]);
        const kinds = results.map((one) => (one.ok ? 'ok' : one.error.constructor));
        expect(kinds).toEqual([
          'ok',
          AlreadyExists,
          AlreadyExists,
          Invalid,
          'ok',
          Conflict,
          NotFound,
          'ok',
          'ok',
        ]);
        expect(results[4]).toMatchObject({ stored: { id: 'a', revision: 2, eventSeq: 2 } });
        expect(await collection.get('a')).toMatchObject({ value: { rank: 2 } });
        expect((await collection.find({ limit: 10 })).items.map((one) => one.id)).toEqual(['a', 'c']);
      }));

    test('of nothing is nothing', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        expect(await collection.batch([])).toEqual([]);
      }));

    test('of thousands answers in order', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        const results = await collection.batch(
          Array.from({ length: 3000 }, (_, n) => ({
            kind: 'insert' as const,
            id: `n${n % 2500}`,
            value: { rank: n },
          })),
        );
        expect(results.map((one) => one.ok)).toEqual(Array.from({ length: 3000 }, (_, n) => n < 2500));
        expect(await collection.count()).toBe(2500);
      }));
  });
}
