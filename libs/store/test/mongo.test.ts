// The MongoDB adapter on a real server of its wire protocol: the conformance suite, and what is its own: several
// processes on one database, a server that goes and comes back, answers that are lost, limits, URLs.
import { describe, expect, test } from '@jest/globals';
import { type Clock, Exhausted, Invalid, Precondition, systemClock, Unavailable } from '@nephos/service';
import { MongoClient } from 'mongodb';
import { storeConformance } from '../src/conformance.ts';
import { defineCollection, type Json, openStore, type Store, serviceStoreUrl } from '../src/index.ts';
import { parts } from '../src/testing/fixture.ts';
import { onMongo } from '../src/testing/on-mongo.ts';
import type { MongoServer } from '../src/testing.ts';
import { cuttableProxy } from './cuttable-proxy.ts';

await onMongo((server) => {
  const durability = server.durable ? 'durable' : 'no mongod: durability is not claimed';
  const name = `MongoDB (${server.name}; ${durability})`;
  storeConformance(name, () => {
    const url = server.fresh();
    return Promise.resolve({
      url,
      open: (options) => openStore({ url, clock: options?.clock ?? systemClock }),
      destroy: () => Promise.resolve(),
    });
  });
  describe(`${name} itself`, () => {
    sharing(server);
    breaking(server);
    limits(server);
  });
});

function open(url: string, clock: Clock = systemClock): Promise<Store> {
  return openStore({ url, clock });
}

/** Timers of a hundredth. */
const hasty: Clock = {
  now: () => systemClock.now(),
  monotonic: () => systemClock.monotonic(),
  sleep: (ms, signal) => systemClock.sleep(ms / 100, signal),
  timer: (ms, fire) => systemClock.timer(ms / 100, fire),
  every: (ms, fire) => systemClock.every(ms / 100, fire),
};

function sharing(server: MongoServer): void {
  test('two stores on one database: no change is lost, each sees the other’s events', async () => {
    const url = server.fresh();
    await using one = await open(url);
    await using other = await open(url);
    expect(one.exclusive).toBe(false);
    const collections = [await one.collection(parts), await other.collection(parts)];
    await collections[0]?.insert('shared', { rank: 0 }, 'created');
    const work = collections.map(async (collection, n) => {
      for (let turn = 0; turn < 25; turn += 1) {
        await collection.modify('shared', ({ value }) => ({
          value: { rank: (value.rank ?? 0) + 1 },
          event: `${n}.${turn}`,
        }));
      }
    });
    await Promise.all(work);
    expect(await collections[1]?.get('shared')).toMatchObject({ eventSeq: 51, value: { rank: 50 } });
    const [pending] = await other.outbox.pending({ limit: 5 });
    expect(pending?.events.map(({ seq }) => seq)).toEqual(Array.from({ length: 51 }, (_, n) => n + 1));
    await one.outbox.clear('parts', 'shared', 50);
    expect((await other.outbox.pending({ limit: 5 }))[0]?.events).toMatchObject([{ seq: 51 }]);
    await using third = await open(url);
    expect(await third.outbox.pending({ limit: 5 })).toMatchObject([{ id: 'shared', eventSeq: 51 }]);
  });

  test('of fifty inserts of one id or name by two stores one goes through', async () => {
    const url = server.fresh();
    await using one = await open(url);
    await using other = await open(url);
    const [first, second] = [await one.collection(parts), await other.collection(parts)];
    const insert = (n: number) =>
      (n % 2 === 0 ? first : second).insert(n < 25 ? 'same' : `i${n}`, { name: n < 25 ? `n${n}` : 'n' });
    const outcomes = await Promise.allSettled(Array.from({ length: 50 }, (_, n) => insert(n)));
    const kinds = outcomes.map((each) => (each.status === 'fulfilled' ? 'ok' : (each.reason as Error).name));
    for (const half of [kinds.slice(0, 25), kinds.slice(25)]) {
      expect(half.toSorted()).toEqual([...Array.from({ length: 24 }, () => 'AlreadyExists'), 'ok']);
    }
  });

  test('an index that a newer program declares covers what an older one still writes', async () => {
    const url = server.fresh();
    const declare = (fields: readonly string[]) =>
      defineCollection<{ a: number; b: number }>({
        name: 'evolving',
        schemaVersion: 1,
        indexes: Object.fromEntries(fields.map((field) => [`by_${field}`, { fields: [field] }])),
      });
    await using older = await open(url, hasty);
    const before = await older.collection(declare(['a']));
    await before.insert('early', { a: 1, b: 1 });
    await using newer = await open(url, hasty);
    const after = await newer.collection(declare(['b']));
    expect((await after.find({ where: { b: 1 }, limit: 9 })).items).toHaveLength(1);
    await before.insert('late', { a: 1, b: 1 });
    await after.insert('last', { a: 1, b: 1 });
    const all = { items: [{ id: 'early' }, { id: 'last' }, { id: 'late' }] };
    while ((await after.count({ b: 1 })) < 3) await systemClock.sleep(10);
    expect(await after.find({ where: { b: 1 }, limit: 9 })).toMatchObject(all);
    // And the older program finds by its index what the newer one wrote.
    expect(await before.find({ where: { a: 1 }, limit: 9 })).toMatchObject(all);
  });

  test('a database of a newer layout is refused', async () => {
    const url = server.fresh();
    await using store = await open(url);
    await store.ping();
    await using client = new MongoClient(url);
    await client
      .db()
      .collection<{ _id: string }>('nephos.layout')
      .updateOne({ _id: 'store' }, { $set: { version: 99 } });
    await expect(open(url)).rejects.toBeInstanceOf(Precondition);
    await expect(open(url)).rejects.toThrow('layout 99 is newer');
  });
}

function breaking(server: MongoServer): void {
  test('answers that are lost double no event, and the store goes on when the server is back', async () => {
    await using proxy = await cuttableProxy(server.fresh());
    await using store = await open(proxy.url);
    const collection = await store.collection(parts);
    await collection.insert('one', { rank: 0 });
    const acknowledged: string[] = [];
    let cuts = 0;
    const writer = async (n: number): Promise<void> => {
      for (let turn = 0; turn < 30; turn += 1) {
        const event = `${n}.${turn}`;
        try {
          await collection.modify('one', ({ value }) => ({ value: { rank: (value.rank ?? 0) + 1 }, event }));
          acknowledged.push(event);
          if (turn % 7 === n) cuts += proxy.cut();
        } catch (error) {
          expect(error).toBeInstanceOf(Unavailable);
        }
      }
    };
    await Promise.all(Array.from({ length: 4 }, (_, n) => writer(n)));
    expect(cuts).toBeGreaterThan(4);
    const payloads: Json[] = [];
    for (let found = await store.outbox.pending({ limit: 1 }); found.length > 0; ) {
      const [{ events } = { events: [] }] = found;
      for (const { firstSeq, seq, payload } of events) {
        payloads.push(...Array.from({ length: seq - firstSeq }, () => 'collapsed'), payload);
      }
      await store.outbox.clear('parts', 'one', events.at(-1)?.seq ?? 0);
      found = await store.outbox.pending({ limit: 1 });
    }
    const stored = await collection.get('one');
    expect(payloads).toHaveLength(stored?.eventSeq ?? 0);
    expect(stored).toMatchObject({ revision: payloads.length + 1, value: { rank: payloads.length } });
    const told = payloads.filter((payload) => payload !== 'collapsed');
    expect(new Set(told).size).toBe(told.length);
    expect(payloads.length).toBeGreaterThanOrEqual(acknowledged.length);
    expect(payloads.length).toBeLessThanOrEqual(120);
  });

  test('while the server is away calls are Unavailable, and the store has not failed', async () => {
    await using proxy = await cuttableProxy(server.fresh());
    await using store = await open(`${proxy.url}&serverSelectionTimeoutMS=300`);
    const collection = await store.collection(parts);
    await collection.insert('one', { rank: 1 });
    let failed = false;
    void store.failure.then(() => {
      failed = true;
    });
    await proxy.down();
    await expect(store.ping()).rejects.toBeInstanceOf(Unavailable);
    await expect(collection.get('one')).rejects.toBeInstanceOf(Unavailable);
    await expect(collection.insert('two', {}, 'e')).rejects.toBeInstanceOf(Unavailable);
    await expect(store.outbox.pending({ limit: 1 })).rejects.toBeInstanceOf(Unavailable);
    await expect(open(`${proxy.url}&serverSelectionTimeoutMS=300`)).rejects.toBeInstanceOf(Unavailable);
    await proxy.up();
    for (let alive = false; !alive; ) {
      alive = await store.ping().then(
        () => true,
        () => false,
      );
    }
    expect(await collection.get('one')).toMatchObject({ value: { rank: 1 } });
    await collection.update('one', 1, { rank: 2 }, 'e');
    expect(failed).toBe(false);
  });
}

function limits(server: MongoServer): void {
  test('ids, names and texts that mean something to MongoDB stay what they are', async () => {
    await using store = await open(server.fresh());
    const collection = await store.collection(
      defineCollection<Json>({ name: 'odd', schemaVersion: 1, indexes: { byName: { fields: ['name'] } } }),
    );
    let deep: Json = 1;
    for (let level = 0; level < 200; level += 1) deep = { deep: [deep] };
    const ids = [
      '$ne',
      'a.b',
      '__proto__',
      ' ',
      '!~',
      '\u0001',
      'ü',
      '\ud7ff',
      '\ue000',
      '\u{1f600}',
      'x'.repeat(512),
    ];
    const value = { name: '$gt', 'a.b': { $set: 1 }, '': null, '\0': '\ud800', __id: [1e300, 0.1], deep };
    for (const id of ids) await collection.insert(id, { ...value, id }, { $inc: { 'a.b': 1 } });
    for (const id of ids) expect((await collection.get(id))?.value).toEqual({ ...value, id });
    const byCodePoint = ids.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const found = await collection.find({ where: { name: '$gt' }, limit: 99 });
    expect(found.items.map(({ id }) => id)).toEqual(byCodePoint);
    const pending = await store.outbox.pending({ limit: 99 });
    expect(pending.map(({ id }) => id)).toEqual(byCodePoint);
    expect(pending[0]?.events[0]?.payload).toEqual({ $inc: { 'a.b': 1 } });
  });

  test('what waits is bounded, and so is a document', async () => {
    await using store = await openStore({ url: server.fresh(), clock: systemClock, maxWaiting: 100 });
    const collection = await store.collection(parts);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 150 }, (_, n) => collection.insert(`i${n}`, {})),
    );
    const refused = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason as Error] : []));
    expect(refused).toHaveLength(50);
    for (const error of refused) expect(error).toBeInstanceOf(Exhausted);
    const tooLarge = { reason: 'MESSAGE_TOO_LARGE' };
    await expect(collection.insert('a', { note: 'x'.repeat(9 * 2 ** 20) })).rejects.toMatchObject(tooLarge);
    const half = 'x'.repeat(8 * 2 ** 20 - 100);
    await expect(collection.insert('a', { note: half }, half)).rejects.toMatchObject(tooLarge);
    await collection.insert('a', { note: half });
    expect((await collection.get('a'))?.value.note).toHaveLength(half.length);
  });
}

test('URLs without a database, or that no driver reads, are refused without their passwords', async () => {
  for (const url of [
    'mongodb://u:secret@h',
    'mongodb://u:secret@h/a/b',
    'mongodb://u:se%cret@h/d',
    'mongodb:///d',
  ]) {
    const refused = openStore({ url, clock: systemClock });
    await expect(refused).rejects.toBeInstanceOf(Invalid);
    await expect(refused).rejects.toMatchObject({ message: expect.not.stringMatching(/se%?cret/) });
  }
  const away = openStore({
    url: 'mongodb://u:secret@127.0.0.1:9/d?serverSelectionTimeoutMS=100',
    clock: systemClock,
  });
  await expect(away).rejects.toBeInstanceOf(Unavailable);
  await expect(away).rejects.toMatchObject({ message: expect.not.stringContaining('secret') });
});

test('services that share a URL have databases of their own', () => {
  const url = (of: string): string => serviceStoreUrl(of, 'job-control');
  expect(url('mongodb://h:1')).toBe('mongodb://h:1/nephos_job_control');
  expect(url('mongodb://h:1/')).toBe('mongodb://h:1/nephos_job_control');
  expect(url('mongodb://a,b:2/test?replicaSet=r')).toBe('mongodb://a,b:2/test_job_control?replicaSet=r');
  expect(url('mongodb+srv://u:p@h/x')).toBe('mongodb+srv://u:p@h/x_job_control?authSource=x');
  expect(url('mongodb://u:p@h/?authSource=y')).toBe('mongodb://u:p@h/nephos_job_control?authSource=y');
  expect(url('sqlite:///a/b.db')).toBe('sqlite:///a/b.db');
  expect(() => url('mongodb://u:secret@h/a.b')).toThrow(Invalid);
});
