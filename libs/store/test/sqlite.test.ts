// The SQLite adapter: the conformance suite, and what is its own: the file, its lock, its thread.
import { execFile } from 'node:child_process';
import { mkdtemp, open, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { Exhausted, Invalid, systemClock, Unavailable } from '@nephos/service';
import { storeConformance } from '../src/conformance.ts';
import { openStore } from '../src/index.ts';
import { parts } from '../src/testing/fixture.ts';

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-store-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

storeConformance('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-store-'));
  const url = `sqlite://${folder}/data/store.db`;
  return {
    url,
    open: (options) => openStore({ url, clock: options?.clock ?? systemClock }),
    destroy: () => rm(folder, { recursive: true }),
  };
});

describe('SQLite file', () => {
  test('is held by one process: a second open is refused and names the file', () =>
    withFolder(async (folder) => {
      const file = `${folder}/store.db`;
      const url = `sqlite://${file}`;
      const store = await openStore({ url, clock: systemClock });
      expect(store.exclusive).toBe(true);
      const second = openStore({ url, clock: systemClock });
      await expect(second).rejects.toBeInstanceOf(Unavailable);
      await expect(second).rejects.toThrow(`${file} is held by another process`);
      await store.ping();
      await store[Symbol.asyncDispose]();
      const again = await openStore({ url, clock: systemClock });
      await again[Symbol.asyncDispose]();
    }));

  test('is private, synced in full, and leaves no log behind when closed', () =>
    withFolder(async (folder) => {
      const file = `${folder}/deep/er/store.db`;
      const store = await openStore({ url: `sqlite://${file}`, clock: systemClock });
      await (await store.collection(parts)).insert('one', {});
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      expect((await stat(`${file}-wal`)).mode & 0o777).toBe(0o600);
      await store[Symbol.asyncDispose]();
      await expect(stat(`${file}-wal`)).rejects.toThrow('ENOENT');
    }));

  test('of a newer layout, or that is no database, is refused', () =>
    withFolder(async (folder) => {
      const newer = new DatabaseSync(`${folder}/newer.db`);
      newer.exec('PRAGMA user_version = 99');
      newer.close();
      await writeFile(`${folder}/text.db`, 'no database at all '.repeat(100));
      const open = (name: string) => openStore({ url: `sqlite://${folder}/${name}`, clock: systemClock });
      await expect(open('newer.db')).rejects.toThrow('layout 99 is newer');
      await expect(open('text.db')).rejects.toThrow('text.db cannot be opened: file is not a database');
      await expect(open('text.db/below.db')).rejects.toBeInstanceOf(Unavailable);
    }));

  test('URLs of other kinds are refused, without their passwords', async () => {
    for (const url of [
      'mysql://u:secret@h/d',
      'sqlite:relative.db',
      'sqlite://host/file.db',
      'sqlite:///dir/',
      'nonsense',
    ]) {
      const refused = openStore({ url, clock: systemClock });
      await expect(refused).rejects.toBeInstanceOf(Invalid);
      await expect(refused).rejects.toMatchObject({ message: expect.not.stringContaining('secret') });
    }
  });

  test('its log stays bounded under many writes', () =>
    withFolder(async (folder) => {
      const file = `${folder}/store.db`;
      await using store = await openStore({ url: `sqlite://${file}`, clock: systemClock });
      const collection = await store.collection(parts);
      const note = 'x'.repeat(20_000);
      await collection.insert('one', { note });
      for (let round = 0; round < 60; round += 1) {
        await collection.batch(
          Array.from({ length: 50 }, (_, n) => ({
            kind: 'update' as const,
            id: 'one',
            expected: round * 50 + n + 1,
            value: { note },
          })),
        );
        await collection.batch(
          Array.from({ length: 40 }, (_, n) => ({
            kind: 'insert' as const,
            id: `${round}-${n}`,
            value: { note },
          })),
        );
      }
      expect((await stat(file)).size).toBeGreaterThan(20e6);
      expect((await stat(`${file}-wal`)).size).toBeLessThan(40e6);
    }));
});

describe('SQLite thread', () => {
  test('the event loop goes on while the disk is written', () =>
    withFolder(async (folder) => {
      await using store = await openStore({ url: `sqlite://${folder}/store.db`, clock: systemClock });
      const collection = await store.collection(parts);
      let turns = 0;
      let writing = true;
      const turn = (): void => {
        turns += 1;
        if (writing) setImmediate(turn);
      };
      turn();
      for (let n = 0; n < 50; n += 1) await collection.insert(`i${n}`, { note: 'x'.repeat(200_000) });
      writing = false;
      // Were a write done on this thread there would be one turn a write at most.
      expect(turns).toBeGreaterThan(50 * 4);
    }));

  test('a store that is always busy leaves the event loop its turns', () =>
    withFolder(async (folder) => {
      await using store = await openStore({ url: `sqlite://${folder}/store.db`, clock: systemClock });
      const collection = await store.collection(parts);
      let turns = 0;
      let busy = true;
      const turn = (): void => {
        turns += 1;
        if (busy) setImmediate(turn);
      };
      turn();
      const worker = async (): Promise<void> => {
        for (let n = 0; n < 20; n += 1) await collection.get(`i${n}`);
      };
      await Promise.all(Array.from({ length: 2000 }, worker));
      busy = false;
      // Each turn can send two messages of 1000 operations at most.
      expect(turns).toBeGreaterThanOrEqual((2000 * 20) / 2000);
    }));

  test('what waits is bounded', () =>
    withFolder(async (folder) => {
      await using store = await openStore({
        url: `sqlite://${folder}/store.db`,
        clock: systemClock,
        maxWaiting: 100,
      });
      const collection = await store.collection(parts);
      const outcomes = await Promise.allSettled(
        Array.from({ length: 150 }, (_, n) => collection.insert(`i${n}`, {})),
      );
      const refused = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason as Error] : []));
      expect(refused).toHaveLength(50);
      for (const error of refused) expect(error).toBeInstanceOf(Exhausted);
      expect(await collection.count()).toBe(100);
      const huge = 'x'.repeat(9 * 1024 * 1024);
      await expect(collection.insert('huge', { note: huge })).rejects.toMatchObject({
        reason: 'MESSAGE_TOO_LARGE',
      });
    }));

  test('a failing disk fails the store for good, and everything open with it', () =>
    withFolder(async (folder) => {
      const file = `${folder}/store.db`;
      const store = await openStore({ url: `sqlite://${file}`, clock: systemClock });
      const collection = await store.collection(parts);
      for (let n = 0; n < 20; n += 1) await collection.insert(`i${n}`, { note: 'x'.repeat(5000) });
      await store[Symbol.asyncDispose]();
      await damage(file);
      const damaged = await openStore({ url: `sqlite://${file}`, clock: systemClock });
      const opening = damaged.collection(parts);
      const work = async () => (await opening).find({ limit: 100 });
      const outcomes = await Promise.allSettled([work(), work(), damaged.ping()]);
      expect(outcomes.some((one) => one.status === 'rejected' && one.reason instanceof Unavailable)).toBe(
        true,
      );
      await expect(damaged.failure).resolves.toBeInstanceOf(Unavailable);
      await expect(damaged.ping()).rejects.toBeInstanceOf(Unavailable);
      await damaged[Symbol.asyncDispose]();
    }));
});

/** Overwrites every page behind the schema's. */
async function damage(file: string): Promise<void> {
  await using handle = await open(file, 'r+');
  const { size } = await handle.stat();
  const pages = Math.floor(size / 4096);
  for (let page = 8; page < pages; page += 1)
    await handle.write(Buffer.alloc(4096, 0xff), 0, 4096, page * 4096);
}

test('a second open in the same process does not let go of the lock that keeps other processes out', () =>
  withFolder(async (folder) => {
    const file = `${folder}/store.db`;
    await using _store = await openStore({ url: `sqlite://${file}`, clock: systemClock });
    await expect(openStore({ url: `sqlite://${file}`, clock: systemClock })).rejects.toThrow(
      'held by another',
    );
    const script = `
      const db = new (require('node:sqlite').DatabaseSync)(process.argv[1], { timeout: 0 });
      try { db.exec('BEGIN IMMEDIATE'); console.log('got in'); } catch (error) { console.log(error.message); }`;
    const said = await promisify(execFile)(process.execPath, ['-e', script, file]);
    expect(said.stdout).toContain('database is locked');
  }));
