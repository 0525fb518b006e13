/**
 * One child process, kept alive: a crash is told and the process started again after a pause that doubles. It lives
 * in a session of its own, so that Ctrl-C reaches the launcher alone, and the kernel ends it with the launcher
 * (where setpriv is at hand): a launcher that is killed leaves no service behind, only guests.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Clock } from '@nephos/service';
import type { LogFile } from './log-file.ts';

export interface ChildSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface SupervisedOptions {
  readonly spec: ChildSpec;
  readonly log: LogFile;
  readonly clock: Clock;
  /** Told of each end that nobody asked for, once the first start has succeeded. */
  readonly onCrash: (name: string, how: string, pauseMs: number) => void;
  /** Sees each piece that the process writes. */
  readonly onOutput?: ((name: string, text: string) => void) | undefined;
}

const setpriv = '/usr/bin/setpriv';
const firstPauseMs = 250;
const longestPauseMs = 10_000;
/** A process that ran this long has recovered: the next pause is short again. */
const recoveredMs = 60_000;

export class Supervised {
  readonly #options: SupervisedOptions;
  #child: ChildProcess;
  #exited: Promise<string>;
  #stopping = false;
  #kept = false;
  #pauseMs = firstPauseMs;
  readonly #stopped = new AbortController();

  constructor(options: SupervisedOptions) {
    this.#options = options;
    [this.#child, this.#exited] = this.#spawn();
  }

  get name(): string {
    return this.#options.spec.name;
  }

  get pid(): number | undefined {
    return this.#child.exitCode === null && this.#child.signalCode === null ? this.#child.pid : undefined;
  }

  /** How the process ended; resolves when it has. */
  get exited(): Promise<string> {
    return this.#exited;
  }

  lastLines(count: number): string[] {
    return this.#options.log.lastLines(count);
  }

  /** From here on a process that ends is started again. */
  keepAlive(): void {
    if (this.#kept) return;
    this.#kept = true;
    void this.#keep();
  }

  /** Asks it to end and waits; after `graceMs` it is killed. True when it ended by itself. */
  async stop(graceMs: number): Promise<boolean> {
    this.#stopping = true;
    this.#stopped.abort(new Error('stopped'));
    let killed = false;
    using _timer = this.#options.clock.timer(graceMs, () => {
      killed = true;
      this.#child.kill('SIGKILL');
    });
    this.#child.kill('SIGTERM');
    await this.#exited;
    return !killed;
  }

  /** At once; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#stopping = true;
    this.#stopped.abort(new Error('killed'));
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  async #keep(): Promise<void> {
    const { clock, onCrash } = this.#options;
    for (;;) {
      const began = clock.monotonic();
      const how = await this.#exited;
      if (this.#stopping) return;
      if (clock.monotonic() - began > recoveredMs) this.#pauseMs = firstPauseMs;
      onCrash(this.name, how, this.#pauseMs);
      await clock.sleep(this.#pauseMs, this.#stopped.signal).catch(() => undefined);
      if (this.#stopping) return;
      this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs);
      [this.#child, this.#exited] = this.#spawn();
    }
  }

  #spawn(): [ChildProcess, Promise<string>] {
    const { spec, log, onOutput } = this.#options;
    const [command, args] = existsSync(setpriv)
      ? [setpriv, ['--pdeathsig', 'KILL', '--', spec.command, ...spec.args]]
      : [spec.command, [...spec.args]];
    const child = spawn(command, args, {
      env: { ...process.env, ...spec.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        log.write(text);
        onOutput?.(spec.name, text);
      });
    }
    const exited = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(`cannot be started: ${error.message}`));
      child.once('exit', (code, signal) => resolve(signal === null ? `exit code ${code}` : `${signal}`));
    });
    return [child, exited];
  }
}
