/**
 * A real nats-server with JetStream on loopback, for tests of this and other packages.
 * Invariants: the port stays the same over `kill` and `restart`, and so does the data; `stop` removes a
 * temporary store folder that was made here. If this process ends first, whichever way, the server ends with it
 * (where setpriv is at hand, as on any Linux with util-linux); a temporary folder then stays.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where to keep data and listen. Default: a temporary folder and any free port. */
export interface NatsServerOptions {
  readonly storeDir?: string;
  readonly port?: number;
}

/** A running server. */
export interface NatsServer extends AsyncDisposable {
  /** `nats://127.0.0.1:<port>`; does not change. */
  readonly url: string;
  /** The current process; changes with `restart`. */
  readonly pid: number;
  /** Ends the server gracefully and removes a temporary store folder. */
  stop(): Promise<void>;
  /** SIGKILL, and waits until it is gone. Data stays as the crash left it. */
  kill(): Promise<void>;
  /** Starts it again (after a SIGKILL if it still runs) on the same port and data. */
  restart(): Promise<void>;
}

/** Starts a server and waits until it is ready. Throws what it said if it does not start. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const storeDir = options.storeDir ?? (await mkdtemp(join(tmpdir(), 'nephos-nats-')));
  const first = await launch(storeDir, options.port ?? -1);
  return new Server(first, storeDir, options.storeDir === undefined);
}

interface Launched {
  readonly child: ChildProcess;
  readonly port: number;
  readonly exited: Promise<unknown>;
}

class Server implements NatsServer {
  readonly url: string;
  readonly #storeDir: string;
  readonly #temporary: boolean;
  readonly #killAtExit = () => this.#running.child.kill('SIGKILL');
  #running: Launched;

  constructor(running: Launched, storeDir: string, temporary: boolean) {
    this.#running = running;
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

  async restart(): Promise<void> {
    await this.#end('SIGKILL');
    this.#running = await launch(this.#storeDir, this.#running.port);
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
function commandOf(storeDir: string, port: number): [string, string[]] {
  const server = ['--addr', '127.0.0.1', '--port', String(port), '--jetstream', '--store_dir', storeDir];
  if (!existsSync(setpriv)) return ['nats-server', server];
  return [setpriv, ['--pdeathsig', 'KILL', '--', 'nats-server', ...server]];
}

async function launch(storeDir: string, port: number): Promise<Launched> {
  const child = spawn(...commandOf(storeDir, port), {
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
