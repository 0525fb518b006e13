/** What the tests of leases run on: one real SQLite store, and instances on it with a clock each, moved by the test. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Clock, createLog, systemClock } from '@nephos/service';
import { openStore, type Store } from '@nephos/store';
import { holdLease, LeaseSet, type Leases, openLeases } from '../src/index.ts';

export const leaseMs = 4000;
export const names = Array.from({ length: 8 }, (_, at) => `part-${at}`);

interface Waiting {
  readonly at: number;
  readonly fire: () => void;
}

/** Time passes only when the test says so, for each instance on its own: one that stands still is not moved. */
export class MovedClock implements Clock {
  elapsed = Math.random() * 1e6;
  readonly #waiting = new Set<Waiting>();

  now(): Date {
    return systemClock.now();
  }

  monotonic(): number {
    return this.elapsed;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const timer = this.timer(ms, resolve);
      signal?.addEventListener('abort', () => {
        timer[Symbol.dispose]();
        reject(signal.reason as Error);
      });
    });
  }

  timer(ms: number, fire: () => void): Disposable {
    const waiting = { at: this.elapsed + ms, fire };
    this.#waiting.add(waiting);
    return { [Symbol.dispose]: () => this.#waiting.delete(waiting) };
  }

  every(ms: number, fire: () => void): Disposable {
    let current = this.timer(ms, () => {
      current = this.every(ms, fire);
      fire();
    });
    return { [Symbol.dispose]: () => current[Symbol.dispose]() };
  }

  move(ms: number): void {
    this.elapsed += ms;
    for (const waiting of [...this.#waiting].toSorted((a, b) => a.at - b.at)) {
      if (waiting.at > this.elapsed || !this.#waiting.delete(waiting)) continue;
      waiting.fire();
    }
  }
}

/** One instance of a service. */
export class Instance {
  readonly clock = new MovedClock();
  readonly stop = new AbortController();
  readonly taken: string[] = [];
  /** Those of them that were handed over. */
  readonly handed: string[] = [];
  /** What putting one down comes to. */
  putDown: () => Promise<void> = () => Promise.resolve();
  readonly loops: Promise<void>[] = [];
  readonly failures: unknown[] = [];
  readonly owner: string;
  readonly set: LeaseSet;
  readonly leases: Leases;
  /** Killed or stopped by a signal: nothing of it happens. */
  still = false;
  /** What comes before an update or insertion reaches the store: a pause, or a failure. */
  delay: ((verb: 'update' | 'insert', name: string) => Promise<void>) | undefined;
  /** While it is there, the store takes updates and does not answer. */
  hang: PromiseWithResolvers<never> | undefined;

  constructor(leases: Leases) {
    this.owner = leases.owner;
    const documents = new Proxy(leases.documents, {
      get: (target, key) => {
        const { hang } = this;
        if (key === 'update' && hang !== undefined) return () => hang.promise;
        const member: unknown = Reflect.get(target, key);
        if (typeof member !== 'function') return member;
        if (key !== 'update' && key !== 'insert') return member.bind(target) as unknown;
        return async (name: string, ...rest: unknown[]) => (
          await this.delay?.(key, name), await Reflect.apply(member, target, [name, ...rest])
        );
      },
    });
    this.leases = { ...leases, documents, clock: this.clock };
    this.set = new LeaseSet({
      leases: this.leases,
      set: 'parts',
      names,
      onTaken: (name, epoch, handed) => {
        this.taken.push(`${name}@${epoch}`);
        if (handed) this.handed.push(name);
      },
      onLost: () => this.putDown(),
    });
  }

  share(): void {
    this.loops.push(this.set.run(this.stop.signal));
  }

  hold(name: string, work: Parameters<typeof holdLease>[2]): void {
    const background = (_name: string, loop: (signal: AbortSignal) => Promise<void>): void => {
      this.loops.push(loop(this.stop.signal).catch((error: unknown) => void this.failures.push(error)));
    };
    holdLease({ background }, { leases: this.leases, name }, work);
  }

  async leave(): Promise<void> {
    this.stop.abort();
    await Promise.all(this.loops);
  }
}

export class Cluster implements AsyncDisposable {
  readonly instances: Instance[] = [];
  readonly store: Store;
  readonly #folder: string;

  constructor(folder: string, store: Store) {
    this.#folder = folder;
    this.store = store;
  }

  static async open(): Promise<Cluster> {
    const folder = await mkdtemp(path.join(tmpdir(), 'nephos-leases-'));
    return new Cluster(folder, await openStore({ url: `sqlite://${folder}/store.db`, clock: systemClock }));
  }

  /** `exclusive` is what a store shared with others would say. */
  async instance(owner: string, exclusive = false): Promise<Instance> {
    const log = createLog({
      service: 'leases',
      version: '0',
      instanceId: owner,
      level: 'silent',
      to: 'stderr',
      secrets: [],
    });
    const store = { collection: this.store.collection.bind(this.store), exclusive };
    const leases = await openLeases({ store, clock: systemClock, log, owner, leaseMs });
    const instance = new Instance(leases);
    this.instances.push(instance);
    return instance;
  }

  /** What was asked of the store is answered, and what follows from the answers too. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 8; turn += 1) {
      await this.store.ping();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Time passes for all that do not stand still, in steps shorter than a look. */
  async pass(ms: number, each: () => void = () => {}): Promise<void> {
    const step = leaseMs / 40;
    for (let passed = 0; passed < ms; passed += step) {
      for (const { clock, still } of this.instances) if (!still) clock.move(step);
      await this.settle();
      each();
    }
  }

  /** Who holds it by its own account at this very moment. */
  holders(name: string): string[] {
    const held = this.instances.filter(({ set, still }) => !still && set.epochOf(name) !== undefined);
    return held.map(({ owner }) => owner);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const instance of this.instances) {
      const leaving = instance.leave();
      instance.clock.move(1);
      await leaving;
    }
    await this.store[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true });
  }
}
