/** Requests happen once: at once, after a restart, after a crash; refusals leave nothing. On a real SQLite store. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { AlreadyExists, type Clock, newUid, offsetClock, systemClock, Unavailable } from '@nephos/service';
import { type Collection, defineCollection, type Json, openStore, type Store } from '@nephos/store';
import { type Caller, openIdempotency, type RequestRecord } from '../src/index.ts';
import { requestCollection } from '../src/record.ts';

interface Thing {
  readonly name: string;
}
const things = defineCollection<Thing>({
  name: 'things',
  schemaVersion: 1,
  indexes: { name: { fields: ['name'], unique: true } },
});

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nephos-idempotency-'));
});
afterEach(() => rm(folder, { recursive: true }));

const request = (text: string): Uint8Array => new TextEncoder().encode(text);

function caller(requestId: string, principal = 'ann'): Caller {
  return { principal, onBehalfOf: undefined, requestId, detach: () => undefined };
}

/** A service with one method that makes things, opened anew on the same file. */
async function open({ clock = systemClock, crash = false }: { clock?: Clock; crash?: boolean } = {}) {
  const store: Store = await openStore({ url: `sqlite://${folder}/things.db`, clock });
  const documents = await store.collection(things);
  const seen = { prepared: 0, carriedOut: 0, crash, held: new Map<string, Promise<void>>() };
  /** What happens right after the requests' records were read, and right before one is changed. */
  const taps: { found?: () => Promise<unknown>; changing?: () => void } = {};
  const collection: Store['collection'] = async (definition) => {
    const records = await store.collection(definition);
    const find: typeof records.find = async (query) => {
      const page = await records.find(query);
      await taps.found?.();
      return page;
    };
    const modify: typeof records.modify = async (...asked) => {
      taps.changing?.();
      return await records.modify(...asked);
    };
    return { ...methodsOf(records), find, modify };
  };
  const tapped = { collection, exclusive: store.exclusive } as Store;
  const idempotency = await openIdempotency(tapped, { clock });
  const create = idempotency.method<Json, string>({
    name: '/test.Things/CreateThing',
    async carryOut({ entityUid, body }: RequestRecord) {
      seen.carriedOut += 1;
      await seen.held.get((body as unknown as Thing).name);
      try {
        await documents.insert(entityUid, body as unknown as Thing);
      } catch (error) {
        if (!(await documents.get(entityUid))) throw error;
      }
      if (seen.crash) throw new Unavailable('SERVICE_UNAVAILABLE', 'as if the process died here');
      return entityUid;
    },
    answer: async ({ entityUid }) => entityUid,
  });
  const call = (id: string, name: string, principal?: string): Promise<string> =>
    create(caller(id, principal), request(name), async () => {
      seen.prepared += 1;
      return { entityUid: newUid(), body: { name } };
    });
  return { store, documents, idempotency, seen, taps, call };
}

/** Its methods as they are called on it. */
function methodsOf<T>(records: Collection<T>): Collection<T> {
  const bind = (_: unknown, key: string | symbol): unknown => {
    const value: unknown = Reflect.get(records, key);
    return typeof value === 'function' ? value.bind(records) : value;
  };
  const { insert, get, getMany, remove } = new Proxy<Collection<T>>(records, { get: bind });
  return { insert, get, getMany, remove } as Collection<T>;
}

describe('idempotency', () => {
  test('fifty at once, and fifty more after a restart, make one thing', async () => {
    const id = newUid();
    const first = await open();
    const uids = await Promise.all(Array.from({ length: 50 }, () => first.call(id, 'one')));
    expect(new Set(uids).size).toBe(1);
    expect(first.seen.carriedOut).toBe(1);
    await first.store[Symbol.asyncDispose]();
    const second = await open();
    const again = await Promise.all(Array.from({ length: 50 }, () => second.call(id, 'one')));
    expect(new Set([...again, ...uids]).size).toBe(1);
    expect(second.seen).toMatchObject({ carriedOut: 0, prepared: 0 });
    expect(await second.documents.count()).toBe(1);
    await second.store[Symbol.asyncDispose]();
  });

  test('the record of a request keeps no body once it was carried out', async () => {
    const { store, call } = await open();
    const id = newUid();
    const uid = await call(id, 'private');
    const records = await store.collection(requestCollection);
    const { items } = await records.find({ limit: 10 });
    expect(items.map(({ value }) => value)).toEqual([
      expect.objectContaining({ requestId: id, entityUid: uid, body: null }),
    ]);
    expect(await call(id, 'private')).toBe(uid);
    await store[Symbol.asyncDispose]();
  });

  test('another body under the same id is refused; another caller has ids of its own', async () => {
    const { store, call, documents } = await open();
    const id = newUid();
    await call(id, 'one');
    await expect(call(id, 'two')).rejects.toMatchObject({ kind: 'invalid', reason: 'REQUEST_ID_REUSED' });
    await call(id, 'two', 'bob');
    expect(await documents.count()).toBe(2);
    await store[Symbol.asyncDispose]();
  });

  test('a refusal leaves no record: the same id may then be used for what is right', async () => {
    const { store, call } = await open();
    await call(newUid(), 'taken');
    const id = newUid();
    await expect(call(id, 'taken')).rejects.toBeInstanceOf(AlreadyExists);
    const uid = await call(id, 'free');
    expect(await call(id, 'free')).toBe(uid);
    await store[Symbol.asyncDispose]();
  });

  test('a throw while preparing leaves nothing', async () => {
    const { store, idempotency } = await open();
    const method = idempotency.method<Json, string>({
      name: '/test.Things/Refuse',
      carryOut: async ({ entityUid }) => entityUid,
      answer: async ({ entityUid }) => entityUid,
    });
    const id = newUid();
    const refuse = async (): Promise<never> => {
      throw new Unavailable('SERVICE_UNAVAILABLE', 'not now');
    };
    await expect(method(caller(id), request('a'), refuse)).rejects.toBeInstanceOf(Unavailable);
    const uid = newUid();
    expect(await method(caller(id), request('b'), async () => ({ entityUid: uid, body: {} }))).toBe(uid);
    await store[Symbol.asyncDispose]();
  });

  test('what a crash left open is carried out by the sweeper, and by a repeat, under the same ids', async () => {
    const before = await open({ crash: true });
    const ids = [newUid(), newUid()] as const;
    await expect(before.call(ids[0], 'swept')).rejects.toBeInstanceOf(Unavailable);
    await expect(before.call(ids[1], 'repeated')).rejects.toBeInstanceOf(Unavailable);
    const made = await before.documents.find({ limit: 10 });
    await before.store[Symbol.asyncDispose]();

    const after = await open();
    const repeated = await after.call(ids[1], 'repeated');
    await after.idempotency.sweep();
    expect(after.seen).toMatchObject({ carriedOut: 2, prepared: 0 });
    const swept = await after.call(ids[0], 'swept');
    expect(after.seen.carriedOut).toBe(2);
    expect(new Set(made.items.map(({ id }) => id))).toEqual(new Set([swept, repeated]));
    await after.idempotency.sweep();
    expect(after.seen.carriedOut).toBe(2);
    await after.store[Symbol.asyncDispose]();
  });

  test('what a sweep read as open, and others carried out and removed since, is not brought back', async () => {
    const before = await open({ crash: true });
    const id = newUid();
    await expect(before.call(id, 'one')).rejects.toBeInstanceOf(Unavailable);
    await before.store[Symbol.asyncDispose]();
    const { store, documents, idempotency, taps, call } = await open();
    taps.found = async () => {
      delete taps.found;
      await documents.remove(await call(id, 'one'));
    };
    await idempotency.sweep();
    expect(await documents.count()).toBe(0);
    await store[Symbol.asyncDispose]();
  });

  test('what could not be marked as carried out, and was removed since, is not brought back', async () => {
    const { store, documents, idempotency, seen, taps, call } = await open();
    const id = newUid();
    taps.changing = () => {
      delete taps.changing;
      throw new Unavailable('SERVICE_UNAVAILABLE', 'the store is away');
    };
    await expect(call(id, 'one')).rejects.toBeInstanceOf(Unavailable);
    const [made] = (await documents.find({ limit: 1 })).items;
    await documents.remove(made?.id ?? '');
    await idempotency.sweep();
    expect(await documents.count()).toBe(0);
    expect(await call(id, 'one')).toBe(made?.id);
    expect(seen.carriedOut).toBe(1);
    await store[Symbol.asyncDispose]();
  });

  test('an open request that waits does not keep the others of a sweep waiting', async () => {
    const before = await open({ crash: true });
    await expect(before.call(newUid(), 'slow')).rejects.toBeInstanceOf(Unavailable);
    await expect(before.call(newUid(), 'quick')).rejects.toBeInstanceOf(Unavailable);
    await before.store[Symbol.asyncDispose]();
    const { store, idempotency, seen } = await open();
    const slow = Promise.withResolvers<void>();
    seen.held.set('slow', slow.promise);
    const sweep = idempotency.sweep();
    while (seen.carriedOut < 2) await systemClock.sleep(5);
    slow.resolve();
    await sweep;
    await store[Symbol.asyncDispose]();
  }, 20_000);

  test('a record is forgotten after a day, and not before', async () => {
    const hour = 60 * 60_000;
    const id = newUid();
    const today = await open();
    const uid = await today.call(id, 'old');
    await today.store[Symbol.asyncDispose]();
    const later = await open({ clock: offsetClock(systemClock, 23 * hour) });
    await later.idempotency.sweep();
    expect(await later.call(id, 'old')).toBe(uid);
    await later.store[Symbol.asyncDispose]();
    const tomorrow = await open({ clock: offsetClock(systemClock, 25 * hour) });
    await tomorrow.idempotency.sweep();
    await expect(tomorrow.call(id, 'old')).rejects.toBeInstanceOf(AlreadyExists);
    expect(tomorrow.seen.prepared).toBe(1);
    await tomorrow.store[Symbol.asyncDispose]();
  });
});
