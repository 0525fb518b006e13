/** Updates and removals happen once, over two instances on one real store: at once, repeated, and finished by a sweep. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Conflict, NotFound, newUid, Precondition, systemClock, Unavailable } from '@nephos/service';
import { type Collection, defineCollection, type Json, openStore, type Store } from '@nephos/store';
import { goneSince, openIdempotency, type Remembering, removing, updating } from '../src/index.ts';

interface Thing extends Remembering {
  readonly text: string;
  readonly changes: number;
}
const things = defineCollection<Thing>({ name: 'things', schemaVersion: 1, indexes: {} });

let folder = '';
let store: Store;
let documents: Collection<Thing>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nephos-changes-'));
  store = await openStore({ url: `sqlite://${folder}/things.db`, clock: systemClock });
  documents = await store.collection(things);
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const caller = (requestId: string) => ({
  principal: 'ann',
  onBehalfOf: undefined,
  requestId,
  detach: () => undefined,
});

/** Whether what was done is kept from being settled, as by a crash right after it. */
const crash = { afterWrite: false };
beforeEach(() => {
  crash.afterWrite = false;
});

/** One instance of a service that keeps things. */
async function openInstance(beforeRemoval: () => Promise<void> = () => Promise.resolve()) {
  const shared = { collection: store.collection.bind(store), exclusive: false } as Store;
  const idempotency = await openIdempotency(shared, { clock: systemClock, graceMs: 0 });
  const unlessCrashed = (): void => {
    if (crash.afterWrite) throw new Unavailable('SERVICE_UNAVAILABLE', 'as if the process died here');
  };
  const entity = {
    definition: { collection: 'things' },
    get: (id: string) => documents.get(id),
    modify: (id: string, change: (value: Thing) => Thing, { expected }: { expected: number }) =>
      documents.modify(id, ({ revision, value }) => {
        if (revision !== expected) throw new Conflict('REVISION_MISMATCH', 'changed meanwhile');
        return { value: change(value) };
      }),
    remove: async (id: string, { expected }: { expected: number }) => {
      await beforeRemoval();
      await documents.remove(id, expected);
    },
    message: ({ value }: { value: Thing }) => value.text,
  };
  type Body = { readonly text: string; readonly revision: number };
  const change = (stored: { value: Thing; revision: number }, { text, revision }: Body): Thing => {
    if (revision !== 0 && revision !== stored.revision)
      throw new Conflict('ETAG_MISMATCH', 'changed meanwhile');
    return { ...stored.value, text, changes: stored.value.changes + 1 };
  };
  const update = updating<Thing, string, Body>(idempotency, {
    name: '/test.Things/UpdateThing',
    entity,
    change,
    written: unlessCrashed,
  });
  const remove = removing<Thing, { readonly used: boolean }>(idempotency, {
    name: '/test.Things/DeleteThing',
    entity,
    check: (_stored, { used }) => {
      if (used) throw new Precondition('RESOURCE_IN_USE', 'it is in use');
    },
    removed: unlessCrashed,
  });
  const create = idempotency.method<Json, string>({
    name: '/test.Things/CreateThing',
    async carryOut({ entityUid }) {
      try {
        await documents.insert(entityUid, { text: 'made', changes: 0 }, undefined, { fresh: true });
      } catch {
        if (!(await documents.get(entityUid))) throw goneSince('things', entityUid);
      }
      unlessCrashed();
      return entityUid;
    },
    answer: async ({ entityUid }) => entityUid,
  });
  return {
    idempotency,
    create: (id: string) => create(caller(id), bytes(''), async () => ({ entityUid: newUid(), body: {} })),
    update: (id: string, uid: string, text: string, revision = 0) =>
      update(caller(id), bytes(`${uid} ${text} ${revision}`), async () => {
        const stored = await documents.get(uid);
        if (stored) change(stored, { text, revision });
        return { entityUid: uid, body: { text, revision } };
      }),
    remove: (id: string, uid: string, used = false, check = () => Promise.resolve()) =>
      remove(caller(id), bytes(`${uid} ${used}`), async () => {
        await check();
        if (!(await documents.get(uid))) throw new NotFound('RESOURCE_NOT_FOUND', 'it is not there');
        return { entityUid: uid, body: { used } };
      }),
  };
}

async function made(): Promise<string> {
  const uid = newUid();
  await documents.insert(uid, { text: 'made', changes: 0 });
  return uid;
}

test('fifty equal updates over two instances change it once; each later repeat is answered, stale etag or not', async () => {
  const instances = [await openInstance(), await openInstance()];
  const [uid, id] = [await made(), newUid()];
  const answers = await Promise.all(
    Array.from({ length: 50 }, async (_, at) => await instances[at % 2]?.update(id, uid, 'new', 1)),
  );
  expect(new Set(answers)).toEqual(new Set(['new']));
  expect((await documents.get(uid))?.value).toMatchObject({ text: 'new', changes: 1 });
  await instances[0]?.update(newUid(), uid, 'newer');
  expect(await instances[1]?.update(id, uid, 'new', 1)).toBe('newer');
  await expect(instances[1]?.update(newUid(), uid, 'late', 1)).rejects.toMatchObject({
    reason: 'ETAG_MISMATCH',
  });
});

test('an update that a crash kept from settling is not done over what came after it', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const [uid, id] = [await made(), newUid()];
  crash.afterWrite = true;
  await expect(one.update(id, uid, 'first', 1)).rejects.toBeInstanceOf(Unavailable);
  crash.afterWrite = false;
  await two.update(newUid(), uid, 'second');
  await two.idempotency.sweep();
  expect(await two.update(id, uid, 'first', 1)).toBe('second');
  expect((await documents.get(uid))?.value).toMatchObject({ text: 'second', changes: 2 });
});

test('a removal is answered the same however often it comes; another one finds nothing', async () => {
  const instances = [await openInstance(), await openInstance()];
  const [uid, id] = [await made(), newUid()];
  await Promise.all(Array.from({ length: 50 }, async (_, at) => await instances[at % 2]?.remove(id, uid)));
  await instances[1]?.remove(id, uid);
  expect(await documents.get(uid)).toBeUndefined();
  await expect(instances[0]?.remove(newUid(), uid)).rejects.toMatchObject({ kind: 'not-found' });
  const kept = await made();
  await expect(instances[0]?.remove(newUid(), kept, true)).rejects.toMatchObject({
    reason: 'RESOURCE_IN_USE',
  });
  expect(await documents.get(kept)).toBeDefined();
});

test('a removal that a crash kept from settling is over', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const [uid, id] = [await made(), newUid()];
  crash.afterWrite = true;
  await expect(one.remove(id, uid)).rejects.toBeInstanceOf(Unavailable);
  crash.afterWrite = false;
  await two.idempotency.sweep();
  await two.remove(id, uid);
});

test('a create that a crash kept from settling brings nothing back that was deleted since', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const id = newUid();
  crash.afterWrite = true;
  await expect(one.create(id)).rejects.toBeInstanceOf(Unavailable);
  crash.afterWrite = false;
  const [there] = (await documents.find({ limit: 1 })).items;
  await two.remove(newUid(), there?.id ?? '');
  await two.idempotency.sweep();
  expect(await documents.count()).toBe(0);
  // A repeat is told of the first one's entity, and makes no second.
  expect(await two.create(id)).toBe(there?.id);
  expect(await documents.count()).toBe(0);
});

test('a removal and an update at once: the update comes before it or not at all', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  for (let round = 0; round < 20; round += 1) {
    const uid = await made();
    const [updated, removed] = await Promise.allSettled([
      one.update(newUid(), uid, 'new'),
      two.remove(newUid(), uid),
    ]);
    expect(removed.status).toBe('fulfilled');
    if (updated.status === 'rejected') expect(updated.reason).toMatchObject({ kind: 'not-found' });
    expect(await documents.get(uid)).toBeUndefined();
  }
});

test('a removal that an equal one overtook right before its write is done', async () => {
  const uid = await made();
  const one = await openInstance(() => documents.remove(uid));
  await expect(one.remove(newUid(), uid)).resolves.toBeUndefined();
});

test('what an equal request did while this one was checked does not refuse it', async () => {
  const [one, two] = [await openInstance(), await openInstance()];
  const [uid, id] = [await made(), newUid()];
  const removedMeanwhile = async (): Promise<void> => {
    await one.remove(id, uid);
    throw new NotFound('RESOURCE_NOT_FOUND', 'it is not there any more');
  };
  await expect(two.remove(id, uid, false, removedMeanwhile)).resolves.toBeUndefined();
  const other = newUid();
  const gone = () => Promise.reject(new NotFound('RESOURCE_NOT_FOUND', 'it is not there any more'));
  await expect(two.remove(other, uid, false, gone)).rejects.toMatchObject({ kind: 'not-found' });
});
