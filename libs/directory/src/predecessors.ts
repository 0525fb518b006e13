/**
 * Which earlier instances of this service are known to be dead: those that kept their files in the same folder
 * and whose process on this machine has gone. The directory takes them out at once, so that callers do not wait
 * for the lease of a service that was killed and started again. A file `<service>.instances` under
 * `<data>/directory` names them; a lost write costs one lease, nothing more.
 */
import { hostname } from 'node:os';
import path from 'node:path';
import { readArray, replaceFile } from './list-cache.ts';

interface Trace {
  readonly uid: string;
  readonly host: string;
  readonly pid: number;
}

/** Of this process: several instances of a service may share it (and a folder) in tests and all-in-one stacks. */
const alive = new Set<string>();

export class Predecessors {
  readonly #file: string;
  readonly #uid: string;
  #dead: readonly string[] = [];

  constructor(folder: string, service: string, uid: string) {
    this.#file = path.join(folder, `${service}.instances`);
    this.#uid = uid;
  }

  /** Uids to name in the registration. */
  get dead(): readonly string[] {
    return this.#dead;
  }

  /** Reads who was here and writes this instance down. */
  async arrive(): Promise<void> {
    alive.add(this.#uid);
    const earlier = this.#read();
    this.#dead = earlier.filter(isDead).map(({ uid }) => uid);
    await this.#write([...earlier, { uid: this.#uid, host: hostname(), pid: process.pid }]);
  }

  /** The directory has taken the dead out: forget them. */
  async confirmed(): Promise<void> {
    if (this.#dead.length === 0) return;
    const gone = new Set(this.#dead);
    this.#dead = [];
    await this.#write(this.#read().filter(({ uid }) => !gone.has(uid)));
  }

  /** A graceful end; `deregistered` when nobody needs to take this instance out any more. */
  async leave(deregistered: boolean): Promise<void> {
    alive.delete(this.#uid);
    if (deregistered) await this.#write(this.#read().filter(({ uid }) => uid !== this.#uid));
  }

  #read(): readonly Trace[] {
    return readArray(this.#file).filter(isTrace);
  }

  async #write(traces: readonly Trace[]): Promise<void> {
    await replaceFile(this.#file, JSON.stringify(traces));
  }
}

function isTrace(item: unknown): item is Trace {
  const { uid, host, pid } = (item ?? {}) as Partial<Trace>;
  return typeof uid === 'string' && typeof host === 'string' && typeof pid === 'number';
}

function isDead({ uid, host, pid }: Trace): boolean {
  if (host !== hostname()) return false;
  if (pid === process.pid) return !alive.has(uid);
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
