/**
 * Named points at which a test may stop, fail or kill the process. Nothing unless NEPHOS_FAILPOINTS names a unix
 * socket: then each point passed is a JSON line `{id, point, facts, service, pid}` to it, and the process waits for
 * `{id, action}`: go, error, kill (SIGKILL, so that nothing cleans up) or hang. Lost control means go.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { Internal } from './errors.ts';

export type FailpointFacts = Readonly<Record<string, string | number | boolean>>;

type Action = 'go' | 'error' | 'kill' | 'hang';

interface Answer {
  readonly id: number;
  readonly action: Action;
}

class Control {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, (action: Action) => void>();
  #next = 1;
  #lost = false;

  constructor(path: string) {
    this.#socket = connect(path);
    // The process must be able to end while nobody waits at a point.
    this.#socket.unref();
    this.#socket.on('error', () => this.#lose());
    this.#socket.on('close', () => this.#lose());
    const lines = createInterface({ input: this.#socket });
    // It passes the socket's errors on, which are dealt with above.
    lines.on('error', () => undefined);
    lines.on('line', (line) => {
      const { id, action } = JSON.parse(line) as Answer;
      this.#waiting.get(id)?.(action);
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) this.#socket.unref();
    });
  }

  ask(point: string, facts: FailpointFacts): Promise<Action> {
    if (this.#lost) return Promise.resolve('go');
    const id = this.#next;
    this.#next += 1;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#socket.ref();
      this.#socket.write(`${JSON.stringify({ id, point, facts, service: serviceName, pid: process.pid })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #lose(): void {
    this.#lost = true;
    for (const go of this.#waiting.values()) go('go');
    this.#waiting.clear();
  }
}

let control: Control | undefined;
let enabled = false;
let serviceName = '';

/** Called once by the first service that starts in the process. An empty path leaves the points without effect. */
export function enableFailpoints(path: string, service: string): void {
  if (path === '' || enabled) return;
  control = new Control(path);
  serviceName = service;
  enabled = true;
}

/** For tests of this file: lets go of the control. */
export function disableFailpoints(): void {
  control?.close();
  control = undefined;
  enabled = false;
}

const passed = Promise.resolve();

/**
 * A point that a test may act at, e.g. `job.step.before`. `facts` tell passes apart. Rejects with Internal where
 * the test asked for an error.
 */
export function failpoint(point: string, facts: FailpointFacts = {}): Promise<void> {
  return enabled && control !== undefined ? obey(control, point, facts) : passed;
}

async function obey(by: Control, point: string, facts: FailpointFacts): Promise<void> {
  switch (await by.ask(point, facts)) {
    case 'go':
      return;
    case 'error':
      throw new Internal('INTERNAL', `failpoint ${point}`);
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      return new Promise(() => {});
    case 'hang':
      return new Promise(() => {});
  }
}
