// Opens a store by its URL. Owner: libs/store; the one place that knows which adapters there are.
// Invariant: one definition a collection name in a store, so that two parts of a service cannot disagree on it.

import type { Clock } from '@nephos/service';
import { Invalid } from '@nephos/service';
import type {
  Collection,
  CollectionDefinition,
  Outbox,
  Store,
  StoreLog,
  StoreOptions,
} from './collection.ts';
import { DocumentCollection } from './documents.ts';
import type { Driver } from './driver.ts';
import { OutboxHub } from './outbox.ts';
import { WorkerChannel } from './sqlite/channel.ts';
import { SqliteDriver } from './sqlite/driver.ts';

const defaultMaxWaiting = 50_000;

/**
 * Throws `Invalid` on a URL that no adapter serves, `Unavailable` when another process holds the file, or MongoDB
 * cannot be reached.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { url, clock, log, maxWaiting = defaultMaxWaiting } = options;
  if (/^mongodb(\+srv)?:/.test(url)) {
    // Loaded by need: most stores are files, and the driver is large.
    const { openMongo } = await import('./mongo/open.ts');
    const driver = await openMongo(url, { clock, log, maxWaiting });
    // A server that is away comes back: there is no failure that ends the store.
    const failure = new Promise<Error>(() => undefined);
    return new OpenStore(driver, { exclusive: false, failure, clock, log });
  }
  const file = sqliteFile(url);
  const channel = await WorkerChannel.open(file, maxWaiting);
  log?.info({ file }, 'store opened');
  void channel.failure.then((error) => log?.error({ err: error, file }, 'store failed'));
  return new OpenStore(new SqliteDriver(channel), { exclusive: true, failure: channel.failure, clock, log });
}

interface OpenStoreParts {
  readonly exclusive: boolean;
  readonly failure: Promise<Error>;
  readonly clock: Clock;
  readonly log: StoreLog | undefined;
}

class OpenStore implements Store {
  readonly exclusive: boolean;
  readonly failure: Promise<Error>;
  readonly #driver: Driver;
  readonly #clock: Clock;
  readonly #outbox: OutboxHub;
  readonly #collections = new Map<string, { definition: object; opened: Promise<Collection<unknown>> }>();

  constructor(driver: Driver, { exclusive, failure, clock, log }: OpenStoreParts) {
    this.exclusive = exclusive;
    this.failure = failure;
    this.#driver = driver;
    this.#clock = clock;
    this.#outbox = new OutboxHub(driver, clock, log);
  }

  get outbox(): Outbox {
    return this.#outbox;
  }

  async collection<T>(definition: CollectionDefinition<T>): Promise<Collection<T>> {
    const known = this.#collections.get(definition.name);
    if (known === undefined) {
      const opened = this.#open(definition);
      this.#collections.set(definition.name, { definition, opened: opened as Promise<Collection<unknown>> });
      opened.catch(() => this.#collections.delete(definition.name));
      return await opened;
    }
    if (known.definition !== definition) {
      throw new Invalid('FIELD_INVALID', `collection ${definition.name} is open under another definition`);
    }
    return (await known.opened) as Collection<T>;
  }

  ping(): Promise<void> {
    return this.#driver.ping();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#driver.close();
  }

  async #open<T>(definition: CollectionDefinition<T>): Promise<Collection<T>> {
    await this.#driver.open(definition.name, definition.indexes);
    return new DocumentCollection(definition, this.#driver, this.#outbox, this.#clock);
  }
}

function sqliteFile(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const file = parsed === undefined ? '' : decodeURIComponent(parsed.pathname);
  if (url.startsWith('sqlite:///') && file.length > 1 && !file.endsWith('/')) return file;
  throw new Invalid(
    'FIELD_INVALID',
    `a store's URL looks like sqlite:///absolute/path/file.db or mongodb://host/database, not ${redacted(parsed)}`,
  );
}

/** A URL may carry a password. */
function redacted(url: URL | undefined): string {
  return url === undefined ? 'that' : `${url.protocol}//…`;
}
