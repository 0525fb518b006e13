/** What every command has: the platform it talks to, where it writes, and how. Opened by need, closed at the end. */
import { userInfo } from 'node:os';
import { connectPlatform, findEndpoints, type Platform } from '@nephos/client';
import { Invalid } from '@nephos/service';
import { type Column, type Json, table } from './table.ts';

export interface Sink {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

/** The world of a run of the command line. */
export interface CliWorld {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where the endpoints file is looked for, from here upward. */
  readonly cwd: string;
  /** Calls back on Ctrl-C. */
  onInterrupt(react: () => void): void;
}

export interface GlobalOptions {
  readonly server?: string;
  readonly nats?: string;
  readonly natsCreds?: string;
  readonly json?: boolean;
}

export class Session implements AsyncDisposable {
  readonly world: CliWorld;
  readonly #interrupted = new AbortController();
  #options: GlobalOptions = {};
  #platform: Platform | undefined;

  constructor(world: CliWorld) {
    this.world = world;
    world.onInterrupt(() => this.#interrupted.abort(new Error('interrupted')));
  }

  configure(options: GlobalOptions): void {
    this.#options = options;
  }

  get json(): boolean {
    return this.#options.json ?? false;
  }

  /** Aborted by Ctrl-C. */
  get signal(): AbortSignal {
    return this.#interrupted.signal;
  }

  /** Throws `Invalid` when nothing says where the platform is. */
  get platform(): Platform {
    this.#platform ??= this.#connect();
    return this.#platform;
  }

  /** Results, for people or programs. */
  out(text: string): void {
    this.world.stdout.write(`${text}\n`);
  }

  /** As wide as it gets where no terminal says how much room there is: programs read it whole. */
  table(columns: readonly Column[], rows: readonly Json[]): void {
    const { isTTY, columns: room } = this.world.stdout;
    this.out(table(columns, rows, isTTY === true ? room : undefined));
  }

  /** What goes on meanwhile; never part of the result. */
  note(text: string): void {
    this.world.stderr.write(`${text}\n`);
  }

  /** One JSON document. */
  document(value: unknown): void {
    this.out(JSON.stringify(value, null, 2));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#platform?.[Symbol.asyncDispose]();
  }

  #connect(): Platform {
    const { env, cwd } = this.world;
    const found = findEndpoints(cwd);
    const directory = this.#options.server ?? env['NEPHOS_SERVER'] ?? found?.directory;
    if (directory === undefined) {
      throw new Invalid(
        'FIELD_REQUIRED',
        'no platform is known: start one with "npm start", or name its directory with --server host:port or NEPHOS_SERVER',
      );
    }
    const nats = this.#options.nats ?? env['NEPHOS_NATS'] ?? found?.nats;
    const natsCreds = this.#options.natsCreds ?? env['NEPHOS_NATS_CREDS'] ?? found?.natsCreds;
    const principal = `users/${env['USER'] || userInfo().username}`;
    return connectPlatform({ directory, nats, natsCreds, principal });
  }
}
