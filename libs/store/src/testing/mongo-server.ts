// A real server of MongoDB's wire protocol for tests: MONGODB_URL, else mongod, FerretDB or mongo-java-server,
// whichever this machine has (`npm run setup` gets one of the last two).
// Owner: libs/store. Invariants: every database is of this start alone and gone at the end; address and data stay
// over `kill` and `restart`; if this process ends first, the server ends with it (where setpriv is at hand).
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, constants, existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { freePort } from '@nephos/service/testing';
import { type Document, MongoClient } from 'mongodb';

export interface MongoServer extends AsyncDisposable {
  /** `mongodb://…/<database>`; the database is new. */
  readonly url: string;
  /** What answers: `mongod 7.0.14`, `FerretDB 1.24.1`, `mongo-java-server 5.0.0`. */
  readonly name: string;
  /** Whether an acknowledged write is on disk: only a real mongod is taken to promise that. */
  readonly durable: boolean;
  /** The URL of another new database. */
  fresh(): string;
  /** Only where the server is ours. SIGKILL, and waits until it is gone. */
  readonly kill?: () => Promise<void>;
  /** Only where the server is ours. Starts it again on the same port and data. */
  readonly restart?: () => Promise<void>;
}

/** How one kind of server is started. */
interface Program {
  readonly command: string;
  args(folder: string, port: number): readonly string[];
}

const cache = resolve(import.meta.dirname, '../../../../.cache/mongo-server');
const setpriv = '/usr/bin/setpriv';
const startMs = 30_000;

/** Resolves with what is missing where there is no server; rejects when there is one and it does not start. */
export async function startMongoServer(): Promise<MongoServer | { readonly missing: string }> {
  const given = process.env['MONGODB_URL'] ?? '';
  if (given !== '') return await describe(given.replace(/^(mongodb(?:\+srv)?:\/\/[^/?]+)(\/[^?]*)?/, '$1'));
  const program = findProgram();
  if (program === undefined) {
    return { missing: 'no MONGODB_URL, mongod, FerretDB or mongo-java-server: npm run setup gets one' };
  }
  const folder = await mkdtemp(join(tmpdir(), 'nephos-mongo-'));
  const port = await freePort();
  const url = `mongodb://127.0.0.1:${port}`;
  const running = new OwnServer(program, program.args(folder, port), url);
  try {
    await running.start();
    return await describe(url, running, async () => {
      await running.end('SIGTERM');
      await rm(folder, { recursive: true, force: true });
    });
  } catch (error) {
    await running.end('SIGKILL');
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

function findProgram(): Program | undefined {
  const mongod = commandIn('mongod', path());
  if (mongod !== undefined) {
    const args = (folder: string, port: number): string[] =>
      ['--dbpath', folder, '--port', `${port}`, '--bind_ip', '127.0.0.1'].concat('--nounixsocket', '--quiet');
    return { command: mongod, args };
  }
  const goFolders = [process.env['GOBIN'] ?? '', join(homedir(), 'go/bin'), join(homedir(), '.cache/nephos')];
  const ferretdb = commandIn('ferretdb', [join(cache, 'ferretdb'), ...goFolders, ...path()]);
  if (ferretdb !== undefined) {
    const args = (folder: string, port: number): string[] => [
      ...['--handler=sqlite', `--sqlite-url=file:${folder}/`, `--state-dir=${folder}`],
      ...[`--listen-addr=127.0.0.1:${port}`, '--debug-addr=-', '--telemetry=disable'],
    ];
    return { command: ferretdb, args };
  }
  const java = commandIn('java', path());
  if (java === undefined || !existsSync(join(cache, 'java/classes/Server.class'))) return undefined;
  const classPath = [join(cache, 'java/classes'), join(cache, 'java/lib/*')].join(delimiter);
  const args = (folder: string, port: number): string[] => [
    ...['-Xmx512m', '-XX:TieredStopAtLevel=1', '-cp', classPath],
    ...['Server', join(folder, 'data.h2'), `${port}`],
  ];
  return { command: java, args };
}

class OwnServer {
  readonly #program: Program;
  readonly #args: readonly string[];
  readonly #url: string;
  readonly #killAtExit = (): void => void this.#child?.kill('SIGKILL');
  #child: ChildProcess | undefined;

  constructor(program: Program, args: readonly string[], url: string) {
    this.#program = program;
    this.#args = args;
    this.#url = url;
  }

  async start(): Promise<void> {
    const { command } = this.#program;
    const [first, ...rest] = existsSync(setpriv)
      ? [setpriv, '--pdeathsig', 'KILL', '--', command, ...this.#args]
      : [command, ...this.#args];
    const child = spawn(first as string, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    process.once('exit', this.#killAtExit);
    let said = '';
    const listen = (text: Buffer): void => void (said = `${said}${text.toString()}`.slice(-4000));
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    const ended = new Promise<never>((_, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) =>
        reject(new Error(`${command} ended (${signal ?? code}):\n${said}`)),
      );
    });
    ended.catch(() => undefined);
    await Promise.race([answers(this.#url), ended]);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    process.off('exit', this.#killAtExit);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill(signal);
    await gone;
  }
}

/** Resolves once the server answers a ping. */
async function answers(url: string): Promise<void> {
  await withClient(url, startMs, (client) => client.db('admin').command({ ping: 1 }));
}

async function describe(
  server: string,
  own?: OwnServer,
  stop: () => Promise<void> = async () => {},
): Promise<MongoServer> {
  const info = await withClient(server, startMs, (client) => client.db('admin').command({ buildInfo: 1 }));
  const prefix = `t${randomBytes(5).toString('hex')}`;
  const [address, query = ''] = server.split('?');
  let made = 0;
  const fresh = (): string => `${address}/${prefix}${made++}${query === '' ? '' : `?${query}`}`;
  return {
    url: fresh(),
    fresh,
    ...identity(info),
    ...(own !== undefined && { kill: () => own.end('SIGKILL'), restart: () => own.start() }),
    [Symbol.asyncDispose]: async () => {
      if (own === undefined) await dropDatabases(server, prefix);
      await stop();
    },
  };
}

/** Only a real mongod tells its storage engines. */
function identity(info: Document): { readonly name: string; readonly durable: boolean } {
  const engines = info['storageEngines'];
  if (Array.isArray(engines)) {
    return { name: `mongod ${info['version']}`, durable: engines.includes('wiredTiger') };
  }
  const ferretdb = info['ferretdb'] ?? info['ferretdbVersion'];
  if (ferretdb !== undefined) {
    const version = typeof ferretdb === 'string' ? ferretdb : (ferretdb as Document)['version'];
    return { name: `FerretDB ${String(version).replace(/^v/, '')}`, durable: false };
  }
  return { name: `mongo-java-server 1.47.0, as MongoDB ${info['version']}`, durable: false };
}

async function dropDatabases(server: string, prefix: string): Promise<void> {
  await withClient(server, startMs, async (client) => {
    const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true });
    for (const { name } of databases) if (name.startsWith(prefix)) await client.db(name).dropDatabase();
  });
}

async function withClient<R>(
  url: string,
  serverSelectionTimeoutMS: number,
  work: (client: MongoClient) => Promise<R>,
): Promise<R> {
  const client = new MongoClient(url, { serverSelectionTimeoutMS });
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

function path(): string[] {
  return (process.env['PATH'] ?? '').split(delimiter);
}

function commandIn(name: string, folders: readonly string[]): string | undefined {
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
