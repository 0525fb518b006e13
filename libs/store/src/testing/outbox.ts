// Events: dense counters, what the relay sees, clearing, collapsing, tombstones.

import { describe, expect, test } from '@jest/globals';
import { offsetClock, systemClock } from '@nephos/service';
import type { CommittedEvent, Json, PendingDocument, Store } from '../collection.ts';
import { defineCollection } from '../definition.ts';
import { JsonText } from '../json-text.ts';
import { type OpenFresh, opened, parts, withStore } from './fixture.ts';

const day = 24 * 3600 * 1000;

async function allPending(store: Store, limit = 100): Promise<PendingDocument[]> {
  const found: PendingDocument[] = [];
  for (let after: string | undefined; ; after = found.at(-1)?.key) {
    const page = await store.outbox.pending({ limit, ...(after === undefined ? {} : { after }) });
    if (page.length === 0) return found;
    found.push(...page);
  }
}

const summed = defineCollection<{ n: number }>({
  name: 'summed',
  schemaVersion: 1,
  indexes: {},
  collapse: (pending) => pending.reduce((sum, event) => sum + (event.payload as number), 0),
});

export function outboxTests(openFresh: OpenFresh): void {
  describe('outbox', () => {
    test('counts events, not writes, and clearing touches neither counter', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        await collection.insert('one', { rank: 0 }, { verb: 'created' });
        await collection.update('one', 1, { rank: 1 });
        await collection.update('one', 2, { rank: 2 }, { verb: 'updated' });
        const [pending] = await allPending(store);
        expect(pending).toMatchObject({ collection: 'parts', id: 'one', deleted: false, eventSeq: 2 });
        expect(pending?.events).toMatchObject([
          { seq: 1, firstSeq: 1, payload: { verb: 'created' } },
          { seq: 2, firstSeq: 2, payload: { verb: 'updated' } },
        ]);
        expect(Date.parse(pending?.events[0]?.at ?? '')).not.toBeNaN();
        await store.outbox.clear('parts', 'one', 1);
        expect((await allPending(store))[0]?.events.map((event) => event.seq)).toEqual([2]);
        await store.outbox.clear('parts', 'one', 2);
        await store.outbox.clear('parts', 'one', 2);
        await store.outbox.clear('parts', 'none', 2);
        expect(await allPending(store)).toEqual([]);
        expect(await collection.get('one')).toMatchObject({ revision: 3, eventSeq: 2 });
        expect(await collection.update('one', 3, {}, null)).toMatchObject({ eventSeq: 3 });
        expect((await allPending(store))[0]?.events).toMatchObject([{ seq: 3, payload: null }]);
      }));

    test('clears many documents at once', () =>
      withStore(openFresh, async (store) => {
        const [first, second] = [await store.collection(parts), await store.collection(summed)];
        await Promise.all(Array.from({ length: 1200 }, (_, n) => first.insert(`id/${n}`, {}, n)));
        await second.insert('kept', { n: 1 }, 1);
        await second.update('kept', 1, { n: 2 }, 2);
        const cleared = Array.from({ length: 1200 }, (_, n) => ({
          collection: 'parts',
          id: `id/${n}`,
          upToSeq: 1,
        }));
        await store.outbox.clearAll([
          ...cleared,
          { collection: 'summed', id: 'kept', upToSeq: 1 },
          { collection: 'summed', id: 'none', upToSeq: 1 },
        ]);
        expect((await allPending(store)).map(({ id, events }) => [id, events[0]?.seq])).toEqual([
          ['kept', 2],
        ]);
        await store.outbox.clearAll([]);
      }));

    test('takes an event that its writer has encoded', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        const heard: unknown[] = [];
        using _hints = store.outbox.onPending((committed) => heard.push(committed[0]?.event.payload));
        const given = new JsonText('{"verb":"made","of":["ü",null]}') as unknown as Json;
        await collection.insert('one', {}, given);
        await collection.batch([{ kind: 'update', id: 'one', expected: 1, value: {}, event: given }]);
        const payload = { verb: 'made', of: ['ü', null] };
        expect((await allPending(store))[0]?.events).toMatchObject([{ payload }, { payload }]);
        expect(heard).toEqual([given, given]);
      }));

    test('pages through documents of all collections', () =>
      withStore(openFresh, async (store) => {
        const [first, second] = [await store.collection(parts), await store.collection(summed)];
        for (let n = 0; n < 7; n += 1) {
          await first.insert(`id/${n}`, {}, n);
          await second.insert(`id/${n}`, { n }, n);
        }
        await first.insert('quiet', {});
        const keys = (await allPending(store, 3)).map(
          (one) => `${one.collection} ${one.id} ${one.events.length}`,
        );
        const ids = Array.from({ length: 7 }, (_, n) => `id/${n} 1`);
        expect(keys).toEqual([...ids.map((id) => `parts ${id}`), ...ids.map((id) => `summed ${id}`)]);
      }));

    test('signals each committed event, after its commit', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        const seen: CommittedEvent[] = [];
        const readable: Promise<unknown>[] = [];
        const listening = store.outbox.onPending((committed) => {
          seen.push(...committed);
          readable.push(...committed.map(async ({ id }) => (await collection.get(id))?.eventSeq));
        });
        await collection.insert('quiet', {});
        await Promise.all(Array.from({ length: 20 }, (_, n) => collection.insert(`i${n}`, {}, { n })));
        await expect(collection.insert('i1', {}, 'refused')).rejects.toThrow('i1 exists already');
        await collection.batch([{ kind: 'remove', id: 'i3', event: 'gone' }]);
        expect(seen).toHaveLength(21);
        expect(seen[4]).toMatchObject({
          collection: 'parts',
          id: 'i4',
          event: { seq: 1, payload: { n: 4 } },
        });
        expect(seen[20]).toMatchObject({ id: 'i3', event: { seq: 2, firstSeq: 2, payload: 'gone' } });
        expect((await Promise.all(readable)).slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 1));
        listening[Symbol.dispose]();
        await collection.insert('late', {}, 'unheard');
        expect(seen).toHaveLength(21);
      }));

    test('collapses at 64 events into one that declares its range', () =>
      withStore(openFresh, async (store) => {
        const plain = await store.collection(parts);
        const custom = await store.collection(summed);
        await plain.insert('one', {}, 1);
        await custom.insert('one', { n: 0 }, 1);
        for (let n = 2; n <= 63; n += 1) {
          await plain.update('one', n - 1, {}, n);
          await custom.update('one', n - 1, { n }, n);
        }
        for (const one of await allPending(store)) expect(one.events).toHaveLength(63);
        await plain.update('one', 63, {}, 64);
        await custom.update('one', 63, { n: 64 }, 64);
        const collapsed = await allPending(store);
        expect(collapsed.map((one) => one.events)).toMatchObject([
          [{ firstSeq: 1, seq: 64, payload: 64 }],
          [{ firstSeq: 1, seq: 64, payload: (64 * 65) / 2 }],
        ]);
        await plain.update('one', 64, {}, 65);
        // A publish of an event that is part of a range by now clears nothing: its range goes out whole.
        await store.outbox.clear('parts', 'one', 3);
        expect((await allPending(store))[0]?.events).toMatchObject([
          { firstSeq: 1, seq: 64 },
          { firstSeq: 65, seq: 65 },
        ]);
        await store.outbox.clear('parts', 'one', 64);
        expect((await allPending(store))[0]?.events).toMatchObject([{ firstSeq: 65, seq: 65 }]);
      }));

    test('collapses at 256 KiB, and ranges join', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        const large = 'ü'.repeat(70_000);
        await collection.insert('one', {}, large);
        expect((await allPending(store))[0]?.events).toHaveLength(1);
        await collection.update('one', 1, {}, large);
        expect((await allPending(store))[0]?.events).toMatchObject([{ firstSeq: 1, seq: 2, payload: large }]);
        await collection.update('one', 2, {}, 'x'.repeat(200_000));
        expect((await allPending(store))[0]?.events).toMatchObject([{ firstSeq: 1, seq: 3 }]);
        await collection.update('one', 3, {}, 'small');
        expect((await allPending(store))[0]?.events.map((event) => event.seq)).toEqual([3, 4]);
      }));

    test('stays bounded and without a gap under concurrent writers and a relay', () =>
      withStore(openFresh, async (store) => {
        const collection = await store.collection(parts);
        await collection.insert('one', { rank: 0 }, 1);
        let published = 0;
        const relay = async (): Promise<void> => {
          const head = (await allPending(store))[0]?.events[0];
          if (head === undefined) return;
          expect(head.firstSeq).toBeLessThanOrEqual(published + 1);
          published = Math.max(published, head.seq);
          await store.outbox.clear('parts', 'one', head.seq);
        };
        const writer = async (): Promise<void> => {
          for (let n = 0; n < 40; n += 1) {
            const { eventSeq } = await collection.modify('one', (current) => ({
              value: current.value,
              event: current.eventSeq + 1,
            }));
            if (eventSeq % 10 === 0) await relay();
          }
        };
        await Promise.all(Array.from({ length: 10 }, writer));
        expect((await collection.get('one'))?.eventSeq).toBe(401);
        expect((await allPending(store))[0]?.events.length ?? 0).toBeLessThan(64);
        while ((await allPending(store)).length > 0) await relay();
        expect(published).toBe(401);
      }));

    test('a removed document is a tombstone until its events are cleared and a day has passed', async () => {
      const fresh = await openFresh();
      try {
        await opened(fresh, async (store) => {
          const collection = await store.collection(parts);
          await collection.insert('gone', { name: 'n' }, 'created');
          await collection.remove('gone', 1, 'deleted');
          await collection.insert('silent', {});
          await collection.remove('silent');
          await collection.insert('back', {}, 'created');
          await collection.remove('back', undefined, 'deleted');
          expect(await collection.insert('back', {}, 'created')).toMatchObject({ revision: 3, eventSeq: 3 });
          const pending = await allPending(store);
          expect(pending).toMatchObject([
            { id: 'back', deleted: false, eventSeq: 3, events: [{ seq: 1 }, { seq: 2 }, { seq: 3 }] },
            { id: 'gone', deleted: true, eventSeq: 2, events: [{ seq: 1 }, { seq: 2, payload: 'deleted' }] },
          ]);
          expect(await store.outbox.sweepTombstones(day)).toBe(0);
        });
        const later = offsetClock(systemClock, day + 60_000);
        await opened(
          fresh,
          async (store) => {
            const collection = await store.collection(parts);
            expect(await store.outbox.sweepTombstones(day)).toBe(1);
            await store.outbox.clear('parts', 'gone', 2);
            expect(await store.outbox.sweepTombstones(day)).toBe(1);
            expect(await store.outbox.sweepTombstones(day)).toBe(0);
            expect(await collection.get('back')).toMatchObject({ revision: 3 });
            expect(await collection.insert('gone', {}, 'created')).toMatchObject({
              revision: 1,
              eventSeq: 1,
            });
          },
          later,
        );
      } finally {
        await fresh.destroy();
      }
    });
  });
}
