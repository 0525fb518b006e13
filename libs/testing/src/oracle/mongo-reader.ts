/**
 * Reads the services' stores in MongoDB with the plain driver, past libs/store, whose work it judges. What a document
 * is, is said in libs/store/src/mongo/document.ts: the value is JSON text, each pending entry stands for so many
 * events, and the last one's sequence is the document's counter.
 */
import { MongoClient } from 'mongodb';
import type { Counter } from './judge.ts';

interface StoredDocument {
  readonly _id: string;
  readonly eventSeq: number;
  readonly value: string;
  readonly removedAt?: number;
  readonly pending?: readonly { readonly count: number }[];
}

/** Collections of the adapter itself. */
const bookkeeping = /^nephos\.|^system\./;

/** Where `mongodb://host:port/prefix` keeps a service's documents. */
function databaseOf(prefix: string, service: string): string {
  return `${prefix}_${service.replaceAll('-', '_')}`;
}

async function withClient<T>(
  url: string,
  read: (client: MongoClient, prefix: string) => Promise<T>,
): Promise<T> {
  const { pathname } = new URL(url);
  const client = await MongoClient.connect(url);
  try {
    return await read(client, pathname.slice(1));
  } finally {
    await client.close();
  }
}

/** Every entity of which these services wrote events. */
export function readMongoCounters(url: string, services: readonly string[]): Promise<Counter[]> {
  return withClient(url, async (client, prefix) => {
    const counters: Counter[] = [];
    for (const service of services) {
      const database = client.db(databaseOf(prefix, service));
      for (const { name } of await database.listCollections({}, { nameOnly: true }).toArray()) {
        if (bookkeeping.test(name)) continue;
        const documents = database.collection<StoredDocument>(name);
        for await (const document of documents.find({ eventSeq: { $gt: 0 } })) {
          counters.push(counterOf(name, document));
        }
      }
    }
    return counters;
  });
}

function counterOf(entity: string, { _id: uid, eventSeq, pending = [] }: StoredDocument): Counter {
  let last = eventSeq;
  const waiting = pending.toReversed().map(({ count }) => {
    const sequence = last;
    last -= count;
    return { firstSequence: sequence - count + 1, sequence };
  });
  return { uid, entity, eventSeq, pending: waiting };
}

/** The documents of a collection by their id; none where the store has no such collection. */
export function readMongoDocuments<T>(
  url: string,
  service: string,
  collection: string,
): Promise<Map<string, T>> {
  return withClient(url, async (client, prefix) => {
    const documents = client.db(databaseOf(prefix, service)).collection<StoredDocument>(collection);
    const there = await documents.find({ removedAt: { $exists: false } }).toArray();
    return new Map(there.map(({ _id, value }) => [_id, JSON.parse(value) as T]));
  });
}
