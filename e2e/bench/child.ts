/**
 * A side's process and how the bench speaks with it: commands one way, results the other, over Node's own channel.
 * Owner: the benchmarks. Invariants: a process ends with the bench, however that ends, since it exits when the
 * channel closes; a command that fails rejects with what the process said.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

/** What a process can be asked: a name, what it takes and what it gives. */
export type Commands = { readonly [command: string]: (input: never) => Promise<unknown> };

type Input<F> = F extends (input: infer I) => unknown ? I : never;
type Output<F> = F extends (input: never) => Promise<infer R> ? R : never;

interface Asked {
  readonly id: number;
  readonly command: string;
  readonly input: unknown;
}

interface Answered {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** How much of what a process says last is kept, characters. */
const longestSaid = 4000;

export class Child<C extends Commands> implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  #said = '';

  private constructor(process: ChildProcess) {
    this.#process = process;
    process.on('message', (answer: Answered) => this.#settle(answer));
    process.on('exit', (code, signal) =>
      this.#ended(`the process ended with ${code ?? signal}: ${this.#said}`),
    );
    process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-longestSaid);
    });
  }

  /** Starts `file`, which calls `answer`; `env` is added to this process's own. */
  static async start<C extends Commands>(
    file: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<Child<C>> {
    const process_ = fork(file, args, {
      env: { ...process.env, ...env },
      execArgv: ['--disable-warning=ExperimentalWarning', ...profiling()],
      serialization: 'advanced',
      // Services log as they do anywhere; it is shown only where a process fails.
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const child = new Child<C>(process_);
    await child.#ask('ready', undefined);
    return child;
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  ask<K extends keyof C & string>(command: K, input: Input<C[K]>): Promise<Output<C[K]>> {
    return this.#ask(command, input) as Promise<Output<C[K]>>;
  }

  /** Processor time of the process so far, all its threads together, microseconds. */
  async cpu(): Promise<number> {
    return (await this.#ask('cpu', undefined)) as number;
  }

  /** SIGKILL. */
  kill(): void {
    this.#process.kill('SIGKILL');
  }

  /** Lets it close what it has open, and waits for its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, 'exit');
    if (this.#process.connected) this.#process.disconnect();
    const patience = setTimeout(() => this.kill(), 10_000);
    await exited;
    clearTimeout(patience);
  }

  #ask(command: string, input: unknown): Promise<unknown> {
    const id = (this.#next += 1);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      const asked: Asked = { id, command, input };
      this.#process.send(asked, (error) => {
        if (error !== null) this.#settle({ id, error: error.message });
      });
    });
  }

  #settle({ id, result, error }: Answered): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }

  #ended(why: string): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(why));
    this.#waiting.clear();
  }
}

/** NEPHOS_BENCH_PROFILE=folder leaves a processor profile of each process there. */
function profiling(): string[] {
  const folder = process.env['NEPHOS_BENCH_PROFILE'];
  return folder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${folder}`];
}

/** The process's side: answers commands until the bench lets go of it, then closes and exits. */
export function answer<C extends Commands>(commands: C, close: () => Promise<void>): void {
  const all: Record<string, (input: never) => Promise<unknown>> = {
    ...commands,
    ready: async () => undefined,
    cpu: async () => {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
  };
  process.on('message', ({ id, command, input }: Asked) => {
    const run = all[command];
    const send = (answered: Answered): void => void process.send?.(answered);
    if (run === undefined) return send({ id, error: `no command ${command}` });
    run(input as never).then(
      (result) => send({ id, result }),
      (error: unknown) =>
        send({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  });
  process.once('disconnect', () => {
    close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
}

/** Nanoseconds on a clock that all processes of the machine share. */
export function sharedNow(): number {
  return Number(process.hrtime.bigint());
}
