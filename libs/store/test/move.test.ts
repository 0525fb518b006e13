// Moving stores from SQLite files to MongoDB: all of it as it was, checked, once, and never half.

import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Precondition, systemClock } from '@nephos/service';
import { MongoClient } from 'mongodb';
import {
  defineCollection,
  openStore,
  type PendingDocument,
  type Store,
  serviceStoreUrl,
} from '../src/index.ts';
import { type MoveOptions, moveStores } from '../src/move.ts';
import { parts } from '../src/testing/fixture.ts';
import { onMongo } from '../src/testing/on-mongo.ts';
import type { MongoServer } from '../src/testing.ts';

const logs = defineCollection<{ line: string }>({ name: 'logs', schemaVersion: 3, indexes: {} });

await onMongo((server) => {
  describe(`moving to MongoDB (${server.name})`, () => {
    moves(server);
  });
});

async function open(url: string): Promise<Store> {
  return await openStore({ url, clock: systemClock });
}

function moves(server: MongoServer): void {
  let folder: string;
  let to: string;
  const urlOf = (service: string): string => `sqlite://${folder}/${service}/${service}.db`;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'nephos-move-'));
    to = server.fresh();
    for (const service of ['alpha', 'job-control', 'host-agent']) await fill(urlOf(service), service);
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });
  const move = (options: Partial<MoveOptions> = {}) => moveStores({ from: folder, to, ...options });
  const hashOf = async (service: string): Promise<string> => {
    const bytes = await readFile(`${folder}/${service}/${service}.db`);
    return createHash('sha256').update(bytes).digest('hex');
  };

  test('documents, counters, pending events and tombstones are there, and events go on in sequence', async () => {
    const before = [await hashOf('alpha'), await hashOf('job-control')];
    const seen: string[] = [];
    const report = await move({
      onProgress: ({ service, doing, collection, done, total }) => {
        if (done === total) seen.push(`${service} ${doing} ${collection} ${total}`);
      },
    });
    expect(report.left).toEqual(['host-agent']);
    expect(report.services.map(({ service, outcome }) => [service, outcome])).toEqual([
      ['alpha', 'moved'],
      ['job-control', 'moved'],
    ]);
    expect(report.services[0]?.collections).toEqual([
      { name: 'logs', documents: 700, tombstones: 0, pendingEvents: 0 },
      { name: 'parts', documents: 6, tombstones: 2, pendingEvents: 10 },
    ]);
    expect(seen).toContain('alpha copying logs 700');
    expect(seen).toContain('job-control verifying parts 6');
    expect([await hashOf('alpha'), await hashOf('job-control')]).toEqual(before);
    await using old = await open(urlOf('alpha'));
    await using moved = await open(serviceStoreUrl(to, 'alpha'));
    await same(old, moved);
    const collection = await moved.collection(parts);
    expect(await collection.modify('busy', ({ value }) => ({ value, event: 'next' }))).toMatchObject({
      revision: 71,
      eventSeq: 71,
    });
    expect((await pendingOf(moved, 'busy')).events.at(-1)).toMatchObject({ seq: 71, payload: 'next' });
    await expect(collection.insert('new', { name: 'unique' })).rejects.toThrow('byName');
    expect(await collection.insert('gone', {}, 'back')).toMatchObject({ revision: 3, eventSeq: 3 });
    expect((await collection.find({ where: { owner: 'o', rank: { gte: 1 } }, limit: 9 })).items).toHaveLength(
      1,
    );
  });

  test('a dry run says what would be moved and leaves no trace', async () => {
    const report = await move({ dryRun: true });
    expect(report.services.map(({ outcome }) => outcome)).toEqual(['would be moved', 'would be moved']);
    expect(await databasesOf(to)).toEqual([]);
    expect((await move()).services[0]?.digest).toBe(report.services[0]?.digest);
  });

  test('once it is there, the same move does nothing, and one of changed files is refused', async () => {
    await move();
    expect((await move()).services.map(({ outcome }) => outcome)).toEqual(['there already', 'there already']);
    await using store = await open(urlOf('alpha'));
    await (await store.collection(parts)).insert('later', {});
    await store[Symbol.asyncDispose]();
    await expect(move()).rejects.toThrow('the files have changed since');
  });

  test('a file in use, and a database with something in it, are refused', async () => {
    {
      await using _store = await open(urlOf('job-control'));
      await expect(move()).rejects.toBeInstanceOf(Precondition);
      await expect(move()).rejects.toThrow('job-control.db is in use: stop the platform');
      expect(await databasesOf(to)).toEqual([]);
    }
    {
      await using store = await open(serviceStoreUrl(to, 'alpha'));
      await store.collection(parts);
    }
    await expect(move()).rejects.toThrow('_alpha is not empty');
    await expect(move({ from: `${folder}/none` })).rejects.toThrow('is not there');
    await expect(move({ from: tmpdirOf(folder) })).rejects.toThrow("no service's store lies in");
  });

  test('broken off it can neither be opened nor mixed with other files, and goes on where it was', async () => {
    const breakOff = move({
      onProgress: ({ collection, done }) => {
        if (collection === 'logs' && done >= 500) throw new Error('cut off');
      },
    });
    await expect(breakOff).rejects.toThrow('cut off');
    const alpha = serviceStoreUrl(to, 'alpha');
    await expect(open(alpha)).rejects.toThrow('holds an unfinished copy');
    expect((await move({ dryRun: true })).services[0]?.outcome).toBe('would be finished');
    expect((await move()).services.map(({ outcome }) => outcome)).toEqual(['moved', 'moved']);
    await using old = await open(urlOf('alpha'));
    await using moved = await open(alpha);
    await same(old, moved);
  });

  test('a copy that differs in one letter is found out', async () => {
    const breakOff = move({
      onProgress: ({ doing }) => {
        if (doing === 'verifying') throw new Error('cut off');
      },
    });
    await expect(breakOff).rejects.toThrow('cut off');
    await using client = new MongoClient(serviceStoreUrl(to, 'alpha'));
    const documents = client.db().collection<{ _id: string; value: string }>('logs');
    await documents.updateOne({ _id: '0123' }, { $set: { value: '{"line":"other"}' } });
    await expect(move()).rejects.toThrow('the copy of logs/0123 differs');
    await expect(open(serviceStoreUrl(to, 'alpha'))).rejects.toThrow('unfinished');
  });

  test('secrets of the URL are told nowhere', async () => {
    const away = move({ to: 'mongodb://u:secret@127.0.0.1:9/x?serverSelectionTimeoutMS=100' });
    await expect(away).rejects.toMatchObject({ message: expect.not.stringContaining('secret') });
  });
}

/** The folder of one service holds no folder of a service. */
function tmpdirOf(folder: string): string {
  return path.join(folder, 'host-agent');
}

async function fill(url: string, service: string): Promise<void> {
  await using store = await open(url);
  const collection = await store.collection(parts);
  await collection.insert('quiet', { name: 'unique', note: `of ${service}` });
  await collection.insert('ü $a.b', { owner: 'o', rank: 1, note: '\ud800' }, { verb: 'created' });
  await collection.insert('busy', {}, 1);
  for (let n = 1; n < 70; n += 1) await collection.update('busy', n, { rank: n }, n + 1);
  await collection.insert('gone', { name: 'n' }, 'created');
  await collection.remove('gone', 1, 'deleted');
  await collection.insert('published', {}, 'created');
  await store.outbox.clear('parts', 'published', 1);
  await collection.insert('silent', {});
  await collection.remove('silent');
  const lines = await store.collection(logs);
  await lines.batch(
    Array.from({ length: 700 }, (_, n) => ({
      kind: 'insert' as const,
      id: String(n).padStart(4, '0'),
      value: { line: `line ${n}` },
    })),
  );
}

async function same(old: Store, moved: Store): Promise<void> {
  for (const definition of [parts, logs]) {
    const [theirs, ours] = [
      await old.collection<unknown>(definition),
      await moved.collection<unknown>(definition),
    ];
    expect(await ours.find({ limit: 1000 })).toEqual(await theirs.find({ limit: 1000 }));
  }
  const pending = await moved.outbox.pending({ limit: 100 });
  expect(pending).toEqual(await old.outbox.pending({ limit: 100 }));
  expect(pending.find(({ id }) => id === 'busy')?.events[0]).toMatchObject({ firstSeq: 1, seq: 64 });
  expect(pending.find(({ id }) => id === 'gone')).toMatchObject({ deleted: true, eventSeq: 2 });
}

async function pendingOf(store: Store, id: string): Promise<PendingDocument> {
  const found = (await store.outbox.pending({ limit: 100 })).find((one) => one.id === id);
  if (found === undefined) throw new Error(`nothing waits of ${id}`);
  return found;
}

/** Those with a collection in them: some servers make a database where it is only looked for. */
async function databasesOf(to: string): Promise<string[]> {
  await using client = new MongoClient(to);
  const prefix = new URL(to).pathname.slice(1);
  const names = ['alpha', 'job_control'].map((service) => `${prefix}_${service}`);
  const collections = await Promise.all(names.map((name) => client.db(name).listCollections().toArray()));
  return names.filter((_, n) => (collections[n]?.length ?? 0) > 0);
}
