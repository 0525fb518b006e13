// Moves the stores of services from SQLite files to MongoDB: copied as they are, read back, then declared whole.
// Owner: libs/store. Invariants: the files are locked from the first look to the last and stay as they are; every
// counter, pending event and tombstone is there behind it, so each entity's events go on in their sequence. A crash
// leaves databases on which no store opens; the same move again goes on.
import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { Internal, Precondition } from '@nephos/service';
import { serviceStoreUrl, worldStoreUrl } from '../service-store.ts';
import { type SourceCollection, SqliteSource } from './source.ts';
import { MongoTarget } from './target.ts';

export interface MoveOptions {
  /** A service's file `<service>.db`, or a folder of them or of folders `<service>/` that hold them. */
  readonly from: string;
  /** `mongodb://host/prefix`: each service gets the database `<prefix>_<service>`. */
  readonly to: string;
  /** Look at both sides and write nothing. */
  readonly dryRun?: boolean;
  readonly onProgress?: (progress: MoveProgress) => void;
}

export interface MoveProgress {
  readonly service: string;
  readonly doing: 'copying' | 'verifying';
  readonly collection: string;
  readonly done: number;
  readonly total: number;
}

export interface MovedService {
  readonly service: string;
  readonly file: string;
  readonly database: string;
  readonly outcome: 'moved' | 'there already' | 'would be moved' | 'would be finished';
  /** SHA-256 over every document, its counters and its pending events. */
  readonly digest: string;
  readonly collections: readonly SourceCollection[];
}

export interface MoveReport {
  readonly services: readonly MovedService[];
  /** Services whose files stay, since their records are those of one host. */
  readonly left: readonly string[];
}

interface Found {
  readonly service: string;
  readonly file: string;
}

/** Its records tell of what runs on this machine. */
const ofTheHost = new Set(['host-agent']);

/**
 * Throws `Precondition` when a file is in use or no store, or a database holds something else; `Unavailable` when
 * MongoDB cannot be reached; `Invalid` for a URL that is none of MongoDB's.
 */
export async function moveStores(options: MoveOptions): Promise<MoveReport> {
  const prefix = worldStoreUrl(options.to, path.basename(path.resolve(options.from)));
  const found = storesIn(options.from);
  const moving = found.filter(({ service }) => !ofTheHost.has(service));
  if (moving.length === 0)
    throw new Precondition('STATE_FORBIDS', `no service's store lies in ${options.from}`);
  // All are held before the first is copied: nobody may start on one of them meanwhile.
  using held = new DisposableStack();
  const sources = moving.map((each) => ({ ...each, source: held.use(new SqliteSource(each.file)) }));
  const services: MovedService[] = [];
  for (const { service, source } of sources) {
    services.push(await moveOne(service, source, serviceStoreUrl(prefix, service), options));
  }
  return { services, left: found.map(({ service }) => service).filter((service) => ofTheHost.has(service)) };
}

async function moveOne(
  service: string,
  source: SqliteSource,
  url: string,
  { dryRun = false, onProgress }: MoveOptions,
): Promise<MovedService> {
  const collections = source.collections();
  const digest = source.digest();
  await using target = new MongoTarget(url);
  const state = await target.look(digest);
  const report = (outcome: MovedService['outcome']): MovedService => {
    return { service, file: source.file, database: target.name, outcome, digest, collections };
  };
  if (state === 'done') return report('there already');
  if (dryRun) return report(state === 'empty' ? 'would be moved' : 'would be finished');
  await target.begin(
    digest,
    collections.reduce((sum, { documents }) => sum + documents, 0),
  );
  const hash = createHash('sha256');
  for (const { name, documents: total } of collections) {
    const tell = (doing: MoveProgress['doing']) => {
      let done = 0;
      return (count: number): void => {
        done += count;
        onProgress?.({ service, doing, collection: name, done, total });
      };
    };
    await target.copy(name, source.indexesOf(name), source.documents(name), tell('copying'));
    await target.verify(name, source.documents(name), hash, tell('verifying'));
  }
  if (hash.digest('hex') !== digest) {
    throw new Internal('INTERNAL', `the copy in ${target.name} has another digest than ${source.file}`);
  }
  await target.finish();
  return report('moved');
}

function storesIn(from: string): Found[] {
  if (!statSync(from, { throwIfNoEntry: false })) {
    throw new Precondition('STATE_FORBIDS', `${from} is not there`);
  }
  if (statSync(from).isFile()) return [{ service: path.basename(from, '.db'), file: from }];
  const entries = readdirSync(from, { withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.db'))
    .map(({ name }) => ({ service: path.basename(name, '.db'), file: path.join(from, name) }));
  const nested = entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ service: name, file: path.join(from, name, `${name}.db`) }))
    .filter(({ file }) => statSync(file, { throwIfNoEntry: false })?.isFile() === true);
  return [...files, ...nested].toSorted((a, b) => (a.service < b.service ? -1 : 1));
}
