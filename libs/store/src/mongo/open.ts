// Connects to MongoDB and finds out what answers.
// Owner: the MongoDB adapter. Invariant: writes ask for a majority and the journal wherever the server knows them;
// where it does not, that is logged, since then a promise stands for no more than the server's word.
import { Invalid, Unavailable } from '@nephos/service';
import {
  type Db,
  type DbOptions,
  type Document,
  MongoClient,
  type MongoClientOptions,
  MongoServerError,
  ReadConcern,
} from 'mongodb';
import type { StoreLog } from '../collection.ts';
import { MongoDriver, type MongoDriverOptions } from './driver.ts';
import { serverCode, storeError } from './faults.ts';
import { checkLayout } from './indexes.ts';
import { refuseUnfinishedMove } from './move-record.ts';

const databaseName = /^[A-Za-z0-9_-]{1,63}$/;
const commandNotFound = 59;
const journaled = { w: 'majority', j: true } as const;

/** Where a URL does not say otherwise. Milliseconds. */
const defaults = {
  appName: 'nephos',
  maxPoolSize: 64,
  serverSelectionTimeoutMS: 5000,
  connectTimeoutMS: 10_000,
  socketTimeoutMS: 30_000,
  waitQueueTimeoutMS: 15_000,
} satisfies MongoClientOptions;

/** Throws `Unavailable` when MongoDB cannot be reached, `Invalid` for a URL without a database. */
export async function openMongo(url: string, options: MongoDriverOptions): Promise<MongoDriver> {
  const name = databaseOf(url);
  const client = clientOf(url);
  try {
    const db = await databaseFor(client, name, options.log);
    await refuseUnfinishedMove(db);
    return new MongoDriver(client, db, options);
  } catch (error) {
    await client.close();
    const told = storeError(error);
    throw told instanceof Unavailable
      ? new Unavailable(told.reason, `the store ${name}: ${told.message}`, { cause: error })
      : told;
  }
}

/** The driver repeats reads, and writes only where the server can tell a repeated one. */
export function clientOf(url: string): MongoClient {
  const asked = new URLSearchParams(url.split('?')[1] ?? '');
  const chosen = Object.entries(defaults).filter(([option]) => !asked.has(option));
  try {
    return new MongoClient(url, { ...Object.fromEntries(chosen), ignoreUndefined: true });
  } catch (error) {
    // Its messages may quote the URL.
    throw new Invalid('FIELD_INVALID', 'the MongoDB URL cannot be read', { cause: (error as Error).name });
  }
}

export function databaseOf(url: string): string {
  const name = /^mongodb(?:\+srv)?:\/\/[^/?]+\/([^?]*)/.exec(url)?.[1] ?? '';
  if (databaseName.test(name)) return name;
  throw new Invalid('FIELD_INVALID', "a MongoDB store's URL looks like mongodb://host:27017/database");
}

export async function databaseFor(client: MongoClient, name: string, log: StoreLog | undefined): Promise<Db> {
  const common: DbOptions = (await canRollBack(client)) ? { readConcern: new ReadConcern('majority') } : {};
  const { version } = await client.db(name).command({ buildInfo: 1 });
  const synced = client.db(name, { writeConcern: journaled, ...common });
  try {
    await checkLayout(synced);
    log?.info({ database: name, server: version }, 'store opened');
    return synced;
  } catch (error) {
    if (!refusesJournal(error)) throw error;
    const db = client.db(name, { writeConcern: { w: 'majority' }, ...common });
    await checkLayout(db);
    log?.warn(
      { database: name, server: version },
      'store opened; this server knows no journal: writes may be lost',
    );
    return db;
  }
}

/** Only in a replica set can a write that was read be undone by an election. */
async function canRollBack(client: MongoClient): Promise<boolean> {
  try {
    const hello: Document = await client.db('admin').command({ hello: 1 });
    return hello['setName'] !== undefined || hello['msg'] === 'isdbgrid';
  } catch (error) {
    if (serverCode(error) !== commandNotFound) throw error;
    return false;
  }
}

function refusesJournal(error: unknown): boolean {
  return error instanceof MongoServerError && /journal|writeConcern|write concern|\bj\b/i.test(error.message);
}
