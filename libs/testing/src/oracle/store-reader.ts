/**
 * Reads the services' stores, once the services have ended: counters and pending events of every entity, and single
 * documents, from SQLite files and, where the platform has one, from its MongoDB server. It opens them itself, past
 * libs/store, whose work it judges.
 */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Platform } from '../platform.ts';
import { serviceNames } from '../services.ts';
import type { Counter } from './judge.ts';
import { readMongoCounters, readMongoDocuments } from './mongo-reader.ts';

/** Where the stores are. */
export type Stores = Pick<Platform, 'data' | 'store'>;

/** Every entity of which events were written, of all the platform's stores. */
export async function readCounters({ data, store }: Stores): Promise<Counter[]> {
  const shared = store === undefined ? [] : await readMongoCounters(store, serviceNames);
  return [...storesIn(data).flatMap((file) => withStore(file, countersOf)), ...shared];
}

/** The documents of a collection by their id; none where the store has no such collection. */
export async function readDocuments<T>(
  { data, store }: Stores,
  service: string,
  collection: string,
): Promise<Map<string, T>> {
  if (store !== undefined) return await readMongoDocuments<T>(store, service, collection);
  const file = path.join(data, service, `${service}.db`);
  if (!existsSync(file)) return new Map();
  return withStore(file, (store) => {
    if (!collectionsOf(store).includes(collection)) return new Map<string, T>();
    const rows = store.prepare(`SELECT id, value FROM "c:${collection}" WHERE deleted_at IS NULL`).all();
    return new Map(rows.map((row) => [String(row['id']), JSON.parse(String(row['value'])) as T]));
  });
}

function storesIn(data: string): string[] {
  // The folders of further instances have a number behind the service's name.
  return readdirSync(data, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => path.join(data, name, `${name.replace(/-\d+$/, '')}.db`))
    .filter((file) => existsSync(file));
}

function withStore<T>(file: string, read: (store: DatabaseSync) => T): T {
  const store = new DatabaseSync(file, { readOnly: true });
  try {
    return read(store);
  } finally {
    store.close();
  }
}

function collectionsOf(store: DatabaseSync): string[] {
  const rows = store.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'c:%'`).all();
  return rows.map((row) => String(row['name']).slice('c:'.length));
}

function countersOf(store: DatabaseSync): Counter[] {
  const waiting = store.prepare('SELECT seq, first_seq FROM outbox WHERE collection = ? AND id = ?');
  return collectionsOf(store).flatMap((collection) =>
    store
      .prepare(`SELECT id, event_seq FROM "c:${collection}" WHERE event_seq > 0`)
      .all()
      .map((row) => {
        const uid = String(row['id']);
        const pending = waiting.all(collection, uid).map((event) => ({
          firstSequence: Number(event['first_seq']),
          sequence: Number(event['seq']),
        }));
        return { uid, entity: collection, eventSeq: Number(row['event_seq']), pending };
      }),
  );
}
