// The MongoDB driver of the store: hands each operation to the collection it is for, bounded and in order.
// Owner: the MongoDB adapter. Invariants: writes of one document that this process asks for go one after the other,
// in the order asked; a write carried out is acknowledged by a majority of the servers and on their disks. Holds no
// document; other processes may write the same database at any time.
import type { Clock } from '@nephos/service';
import { Internal } from '@nephos/service';
import type { Collection, Db, MongoClient } from 'mongodb';
import type {
  Cleared,
  IndexDefinition,
  Json,
  PendingDocument,
  PendingEvent,
  StoreLog,
} from '../collection.ts';
import type { Driver, Row, WriteRequest, Written } from '../driver.ts';
import { KeyedQueue } from '../keyed-queue.ts';
import type { Plan } from '../plan.ts';
import { prepared, type RowDocument, rowFields, rowOf, type StoredDocument } from './document.ts';
import { addPending, clear, clearAll, collapse, pendingOf, sweep } from './events.ts';
import { storeError } from './faults.ts';
import { Gate } from './gate.ts';
import { Gather } from './gather.ts';
import { CollectionIndexes, declared, keysOf, type Shape } from './indexes.ts';
import { idText } from './keys.ts';
import { selectionOf } from './select.ts';
import { Writes } from './writes.ts';

const bareBytes = 200;
const mostGets = 1000;
/** One answer to the relay stays below this, except for a single document that is larger. */
const maxAnswerBytes = 8 * 1024 * 1024;
/** How soon this process learns of indexes that another version of the program declared. */
const refreshMs = 5000;
const collectionName = /^[a-z][a-z0-9_]*$/;

interface OpenCollection {
  readonly documents: Collection<StoredDocument>;
  readonly indexes: CollectionIndexes;
  readonly writes: Writes;
  readonly gets: Gather<string, Row | undefined>;
}

export interface MongoDriverOptions {
  readonly clock: Clock;
  readonly log: StoreLog | undefined;
  readonly maxWaiting: number;
}

export class MongoDriver implements Driver {
  readonly #client: MongoClient;
  readonly #db: Db;
  readonly #options: MongoDriverOptions;
  readonly #gate: Gate;
  readonly #queues = new KeyedQueue();
  readonly #collections = new Map<string, OpenCollection>();
  #refreshing: Disposable;

  constructor(client: MongoClient, db: Db, options: MongoDriverOptions) {
    this.#client = client;
    this.#db = db;
    this.#options = options;
    this.#gate = new Gate(options.maxWaiting, options.clock);
    this.#refreshing = this.#refreshLater();
  }

  async open(collection: string, definitions: Readonly<Record<string, IndexDefinition>>): Promise<void> {
    await this.#gate.run(bareBytes, async () => {
      const documents = this.#documents(collection);
      const indexes = await CollectionIndexes.open(this.#db, collection, declared(definitions));
      const writes = new Writes(documents, indexes, this.#options.clock);
      const gets = new Gather<string, Row | undefined>({
        send: (ids) => getAll(documents, ids),
        most: mostGets,
        mostBytes: Number.POSITIVE_INFINITY,
        bytesOf: () => 0,
      });
      this.#collections.set(collection, { documents, indexes, writes, gets });
    });
  }

  async get(collection: string, ids: readonly string[]): Promise<Row[]> {
    const { gets } = this.#opened(collection);
    return await this.#gate.run(bareBytes, async () => {
      const rows = await Promise.all(ids.map((id) => gets.add(id)));
      return rows.filter((row) => row !== undefined);
    });
  }

  async find(collection: string, plan: Plan): Promise<Row[]> {
    const { documents, indexes } = this.#opened(collection);
    const { filter, sort } = selectionOf(plan, plan.index && indexes.keyOf(plan.index));
    return await this.#gate.run(bareBytes, async () => {
      const cursor = documents
        .find(filter, { sort, limit: plan.limit, batchSize: plan.limit })
        .project<RowDocument>(rowFields);
      return (await cursor.toArray()).map(rowOf);
    });
  }

  async count(collection: string, plan: Plan): Promise<number> {
    const { documents, indexes } = this.#opened(collection);
    const { filter } = selectionOf(plan, plan.index && indexes.keyOf(plan.index));
    return await this.#gate.run(bareBytes, () => documents.countDocuments(filter));
  }

  async write(collection: string, request: WriteRequest): Promise<Written> {
    const { writes } = this.#opened(collection);
    const write = prepared(collection, request);
    return await this.#gate.run(bareBytes + write.bytes, () =>
      this.#queues.run(`${collection}/${request.id}`, () => writes.write(write)),
    );
  }

  /** In order where one may depend on another, else at once. */
  async writeAll(
    collection: string,
    requests: readonly WriteRequest[],
  ): Promise<PromiseSettledResult<Written>[]> {
    const results: PromiseSettledResult<Written>[] = [];
    const { indexes } = this.#opened(collection);
    for (let begin = 0; begin < requests.length; ) {
      const end = endOfRun(indexes.shape, requests, begin);
      const run = requests.slice(begin, end).map((request) => this.write(collection, request));
      results.push(...(await Promise.allSettled(run)));
      begin = end;
    }
    return results;
  }

  async pendingOf(collection: string, id: string): Promise<PendingEvent[]> {
    return await this.#gate.run(bareBytes, () => pendingOf(this.#documents(collection), id));
  }

  async collapse(
    collection: string,
    id: string,
    range: Parameters<Driver['collapse']>[2],
    payload: Json,
  ): Promise<void> {
    await this.#gate.run(bareBytes, () => collapse(this.#documents(collection), id, range, payload));
  }

  async pending(
    limit: number,
    after: string | undefined,
    read: (text: string) => Json,
  ): Promise<PendingDocument[]> {
    const [behind, behindId] = positionOf(after);
    return await this.#gate.run(bareBytes, async () => {
      const found: PendingDocument[] = [];
      const room = { limit, bytes: maxAnswerBytes, read };
      for (const name of await this.#names()) {
        if (name < behind) continue;
        if (found.length >= limit || room.bytes < 0) break;
        await addPending(this.#documents(name), name === behind ? behindId : '', found, room);
      }
      return found;
    });
  }

  async clear(collection: string, id: string, upToSeq: number): Promise<void> {
    await this.#gate.run(bareBytes, () => clear(this.#documents(collection), id, upToSeq));
  }

  async clearAll(cleared: readonly Cleared[]): Promise<void> {
    const byCollection = Map.groupBy(cleared, ({ collection }) => collection);
    await this.#gate.run(bareBytes, async () => {
      for (const [name, some] of byCollection) await clearAll(this.#documents(name), some);
    });
  }

  async sweepTombstones(removedBefore: number, limit: number): Promise<number> {
    return await this.#gate.run(bareBytes, async () => {
      let swept = 0;
      for (const name of await this.#names()) {
        if (swept === limit) break;
        swept += await sweep(this.#documents(name), removedBefore, limit - swept);
      }
      return swept;
    });
  }

  async ping(): Promise<void> {
    await this.#gate.run(bareBytes, () => this.#db.command({ ping: 1 }));
  }

  async close(): Promise<void> {
    this.#refreshing[Symbol.dispose]();
    await this.#gate.close();
    await this.#client.close();
  }

  #documents(collection: string): Collection<StoredDocument> {
    return this.#db.collection<StoredDocument>(collection);
  }

  #opened(collection: string): OpenCollection {
    const opened = this.#collections.get(collection);
    if (opened === undefined) throw new Internal('INTERNAL', `${collection} is not open`);
    return opened;
  }

  /** Of all collections in the database: events may wait in one that this process has not opened. */
  async #names(): Promise<string[]> {
    const listed = await this.#db.listCollections({}, { nameOnly: true }).toArray();
    return listed
      .map(({ name }) => name)
      .filter((name) => collectionName.test(name))
      .toSorted();
  }

  #refreshLater(): Disposable {
    return this.#options.clock.timer(refreshMs, () => void this.#refresh());
  }

  async #refresh(): Promise<void> {
    try {
      await this.#gate.run(bareBytes, async () => {
        for (const { indexes } of this.#collections.values()) await indexes.refresh();
      });
    } catch (error) {
      if (this.#gate.closed) return;
      this.#options.log?.warn({ err: storeError(error) }, 'index keys could not be looked after');
    }
    if (!this.#gate.closed) this.#refreshing = this.#refreshLater();
  }
}

async function getAll(
  documents: Collection<StoredDocument>,
  ids: readonly string[],
): Promise<PromiseSettledResult<Row | undefined>[]> {
  const found = await documents
    .find({ _id: { $in: [...new Set(ids.map(idText))] } })
    .batchSize(ids.length)
    .project<RowDocument & Pick<StoredDocument, 'removedAt'>>({ ...rowFields, removedAt: 1 })
    .toArray();
  const rows = new Map(found.map((document) => [document._id, document]));
  return ids.map((id) => {
    const document = rows.get(idText(id));
    const live = document !== undefined && document.removedAt === undefined;
    return { status: 'fulfilled', value: live ? rowOf(document) : undefined };
  });
}

/** Where the writes that may go at once end: different documents, none of which can stand in another's way. */
function endOfRun({ indexes }: Shape, requests: readonly WriteRequest[], begin: number): number {
  const unique = indexes.filter((index) => index.unique === true);
  const kind = requests[begin]?.kind;
  const taken = new Set<string>();
  let end = begin;
  for (let request = requests[end]; request !== undefined; request = requests[end]) {
    const claims = [request.id];
    if (unique.length > 0) {
      // An update may let go of a value that a neighbour takes.
      if (request.kind !== kind || (kind === 'update' && end > begin)) break;
      if (request.kind === 'insert') {
        const keys = keysOf(unique, request.id, request.value);
        claims.push(...Object.entries(keys).map((entry) => entry.join('/')));
      }
    }
    if (claims.some((claim) => taken.has(claim))) break;
    for (const claim of claims) taken.add(claim);
    end += 1;
  }
  return end;
}

function positionOf(key: string | undefined): readonly [string, string] {
  const slash = key?.indexOf('/') ?? -1;
  return key === undefined || slash < 0 ? ['', ''] : [key.slice(0, slash), key.slice(slash + 1)];
}
