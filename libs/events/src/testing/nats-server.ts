/**
 * A real nats-server with JetStream on loopback, for tests of this and other packages.
 * Invariants: the port stays the same over `kill` and `restart`, and so does the data; `stop` removes a
 * temporary store folder that was made here. If this process ends first, whichever way, the server ends with it
 * (where setpriv is at hand, as on any Linux with util-linux); a temporary folder then stays.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credsAuthenticator, type NodeConnectionOptions } from '@nats-io/transport-node';
import { brokerConfig, credsReader, type KeyFiles, openBrokerKeys } from '@nephos/nats-accounts';

/** Where to keep data and listen. Default: a temporary folder and any free port. */
export interface NatsServerOptions {
  readonly storeDir?: string;
  readonly port?: number;
  /** Names of those who get credentials. Given, the server lets nobody else in; else it is open to all. */
  readonly accounts?: readonly string[];
  /** The cluster that it is to be a member of. */
  readonly member?: Membership;
}

/** A server's place in a cluster. */
export interface Membership {
  readonly cluster: string;
  readonly name: string;
  /** Where it listens for the others. */
  readonly port: number;
  /** The ports of all members. */
  readonly routes: readonly number[];
  /** The folder of keys that all members share. */
  readonly keys: string;
}

/** A running server. */
export interface NatsServer extends AsyncDisposable {
  /** `nats://127.0.0.1:<port>`; does not change. */
  readonly url: string;
  /** Keys and credentials, where it lets nobody in without. */
  readonly keys: KeyFiles | undefined;
  /** The current process; changes with `restart`. */
  readonly pid: number;
  /** Ends the server gracefully and removes a temporary store folder. */
  stop(): Promise<void>;
  /** SIGKILL, and waits until it is gone. Data stays as the crash left it. */
  kill(): Promise<void>;
  /** Starts it again (after the signal, SIGKILL by default, if it still runs) on the same port and data. */
  restart(signal?: NodeJS.Signals): Promise<void>;
}

/** Starts a server and waits until it is ready. Throws what it said if it does not start. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const storeDir = options.storeDir ?? (await mkdtemp(join(tmpdir(), 'nephos-nats-')));
  const accounts = options.accounts && (await layAccounts(storeDir, options.accounts, options.member?.keys));
  const text = [accounts?.config, options.member && membershipConfig(options.member)].join('\n');
  const config = join(storeDir, 'nats.conf');
  await writeFile(config, text);
  const args = ['--jetstream', '--store_dir', storeDir, '--config', config];
  const first = await launch(args, options.port ?? -1);
  return new Server(first, args, storeDir, options.storeDir === undefined, accounts?.files);
}

/** The connection options of a server's client: as the platform itself, where the server asks who it is. */
export function natsOptions({ url, keys }: NatsAddress, as = 'test'): NodeConnectionOptions {
  const servers = url.split(',');
  if (keys === undefined) return { servers };
  return { servers, authenticator: credsAuthenticator(credsReader(keys.credsOf(as))) };
}

/** What a client has to know of a server. */
export type NatsAddress = Pick<NatsServer, 'url' | 'keys'>;

/** Beside the data, so that both stay over a restart. */
async function layAccounts(
  storeDir: string,
  names: readonly string[],
  folder = join(storeDir, 'keys'),
): Promise<{ readonly config: string; readonly files: KeyFiles }> {
  const keys = await openBrokerKeys(folder, ['test', ...names]);
  return { config: await brokerConfig(keys, join(storeDir, 'accounts')), files: keys.files };
}

function membershipConfig({ cluster, name, port, routes }: Membership): string {
  const urls = routes.map((each) => `nats://127.0.0.1:${each}`);
  return `server_name: ${name}
cluster { name: ${cluster}, listen: "127.0.0.1:${port}", no_advertise: true, routes: ${JSON.stringify(urls)} }
`;
}

interface Launched {
  readonly child: ChildProcess;
  readonly port: number;
  readonly exited: Promise<unknown>;
}

class Server implements NatsServer {
  readonly url: string;
  readonly keys: KeyFiles | undefined;
  readonly #args: readonly string[];
  readonly #storeDir: string;
  readonly #temporary: boolean;
  readonly #killAtExit = () => this.#running.child.kill('SIGKILL');
  #running: Launched;

  constructor(
    running: Launched,
    args: readonly string[],
    storeDir: string,
    temporary: boolean,
    keys: KeyFiles | undefined,
  ) {
    this.#running = running;
    this.#args = args;
    this.keys = keys;
    this.#storeDir = storeDir;
    this.#temporary = temporary;
    this.url = `nats://127.0.0.1:${running.port}`;
    process.once('exit', this.#killAtExit);
  }

  get pid(): number {
    return this.#running.child.pid ?? -1;
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
    process.off('exit', this.#killAtExit);
    if (this.#temporary) await rm(this.#storeDir, { recursive: true, force: true });
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async restart(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#end(signal);
    this.#running = await launch(this.#args, this.#running.port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    this.#running.child.kill(signal);
    await this.#running.exited;
  }
}

/** Debian keeps the server in /usr/sbin, which is not on every PATH. */
const searchPath = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin`;

const setpriv = '/usr/bin/setpriv';

/** The command line, under setpriv where there is one, so that the kernel ends the server with its parent. */
function commandOf(args: readonly string[], port: number): [string, string[]] {
  const server = ['--addr', '127.0.0.1', '--port', String(port), ...args];
  if (!existsSync(setpriv)) return ['nats-server', server];
  return [setpriv, ['--pdeathsig', 'KILL', '--', 'nats-server', ...server]];
}

async function launch(args: readonly string[], port: number): Promise<Launched> {
  const child = spawn(...commandOf(args, port), {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PATH: searchPath },
  });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  let said = '';
  const ready = new Promise<number>((resolve, reject) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (said.length < 64 * 1024) said += text;
      const listening = /client connections on [^\s]*:(\d+)/.exec(said);
      if (listening && said.includes('Server is ready')) resolve(Number(listening[1]));
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`nats-server did not start: ${said}`)));
  });
  return { child, port: await ready, exited };
}
