/**
 * A service as a process of its own, which can be killed. It ends with the process that started it, whichever way
 * that ends (where setpriv is at hand, as on any Linux with util-linux).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { ServicePlace } from './in-process.ts';
import type { ServiceProcess } from './platform-service.ts';
import { mainOf, type ServiceName } from './services.ts';

const setpriv = '/usr/bin/setpriv';
/** What Node made of the sources before: a start takes a third of the work. */
const compileCache = path.resolve(import.meta.dirname, '../../../.cache/compile');
const mostLinesKept = 50;

/** What runs; none of it outlives this process, even where setpriv is not at hand. */
const launchedNow = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of launchedNow) child.kill('SIGKILL');
});

interface Launched {
  readonly child: ChildProcess;
  readonly exited: Promise<void>;
}

export class OwnProcessService implements ServiceProcess {
  readonly name: ServiceName;
  readonly address: string;
  readonly data: string;
  readonly #place: ServicePlace;
  #launched: Launched | undefined;

  constructor(place: ServicePlace) {
    this.name = place.name;
    this.address = place.address;
    this.data = place.data;
    this.#place = place;
  }

  get running(): boolean {
    return this.#launched !== undefined;
  }

  get pid(): number {
    return this.#launched?.child.pid ?? -1;
  }

  async start(): Promise<void> {
    if (this.#launched) return;
    await mkdir(path.dirname(this.#place.logFile), { recursive: true });
    const [command, args] = commandOf(mainOf(this.name));
    const child = spawn(command, args, {
      env: {
        PATH: process.env['PATH'],
        NODE_COMPILE_CACHE: compileCache,
        ...this.#place.env,
        NEPHOS_LOG_LEVEL: 'info',
        NEPHOS_LOG_TO: 'stderr',
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const exited = new Promise<void>((resolve) => {
      child.once('close', () => resolve());
      child.once('error', () => resolve());
    });
    const launched = { child, exited };
    this.#launched = launched;
    launchedNow.add(child);
    void exited.then(() => this.#ended(launched));
    try {
      await this.#serving(child);
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const launched = this.#launched;
    if (!launched) return;
    launched.child.kill(signal);
    await launched.exited;
    this.#ended(launched);
  }

  /** Also when it ends by itself. */
  #ended(launched: Launched): void {
    if (this.#launched !== launched) return;
    this.#launched = undefined;
    launchedNow.delete(launched.child);
  }

  /** Resolves once its log says that it serves; rejects with its last words if it ends first. */
  async #serving(child: ChildProcess): Promise<void> {
    const file = createWriteStream(this.#place.logFile, { flags: 'a' });
    const last: string[] = [];
    const said = Promise.withResolvers<void>();
    if (!child.stderr) throw new Error('a child without a log');
    const lines = createInterface({ input: child.stderr });
    lines.on('line', (line) => {
      file.write(`${line}\n`);
      last.push(line);
      if (last.length > mostLinesKept) last.shift();
      if (line.includes('"state":"serving"')) said.resolve();
    });
    lines.on('close', () => file.end());
    child.once('close', () => said.reject(new Error(`${this.name} ended:\n${last.join('\n')}`)));
    child.once('error', said.reject);
    // It may end long after it served: that is no fault of the start.
    said.promise.catch(() => undefined);
    await said.promise;
  }
}

function commandOf(main: string): [string, string[]] {
  const node = ['--disable-warning=ExperimentalWarning', main];
  if (!existsSync(setpriv)) return [process.execPath, node];
  return [setpriv, ['--pdeathsig', 'KILL', '--', process.execPath, ...node]];
}
