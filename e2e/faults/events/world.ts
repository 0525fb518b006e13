/**
 * The world of one run: a broker, a source of events in a process of its own, a subscriber here, and what each of
 * them is found to have told at the end.
 * Owner: the run. Everything is gone with it, processes too.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  type Bus,
  connectBus,
  type EntityEvent,
  openEntity,
  type SubscribeOptions,
  type Subscription,
  streams,
  subscribe,
} from '@nephos/events';
import { type NatsServer, startNatsServer } from '@nephos/events/testing';
import { type Clock, systemClock } from '@nephos/service';
import { openStore, type Store } from '@nephos/store';
import { FailpointControl } from '@nephos/testing';
import { streamOptions, zoneEntity } from './entity.ts';
import { judge, type Kept, readStream, staleOf, type Told, type Verdict } from './oracle.ts';

/** What was found at the end. */
export interface Findings {
  /** Written, as the entities' counters have it. */
  readonly events: number;
  /** What the stream holds. */
  readonly stream: Verdict;
  /** What the subscriber's handler was given. */
  readonly handler: Verdict;
  /** Entities whose state is not the last. */
  readonly stale: readonly string[];
  readonly pending: number;
  /** Events that stood for others that are lost. */
  readonly resynced: number;
}

interface FindingsOptions {
  readonly store?: Store;
  readonly handled?: () => readonly Told[];
}

const silent = (): void => undefined;
export const quietLog = { debug: silent, info: silent, warn: silent, error: silent };

export class World implements AsyncDisposable {
  readonly nats: NatsServer;
  readonly control: FailpointControl;
  readonly bus: Bus;
  readonly handled: Told[] = [];
  readonly #stack: AsyncDisposableStack;
  readonly #folder: string;
  readonly #children = new Set<ChildProcess>();
  #resynced = 0;

  private constructor(
    stack: AsyncDisposableStack,
    folder: string,
    nats: NatsServer,
    control: FailpointControl,
    bus: Bus,
  ) {
    this.#stack = stack;
    this.#folder = folder;
    this.nats = nats;
    this.control = control;
    this.bus = bus;
  }

  static async make(): Promise<World> {
    const stack = new AsyncDisposableStack();
    const folder = await mkdtemp(path.join(tmpdir(), 'nephos-events-faults-'));
    stack.defer(() => rm(folder, { recursive: true, force: true }));
    const nats = stack.use(await startNatsServer());
    const control = stack.use(await FailpointControl.listen(path.join(folder, 'failpoints')));
    const bus = stack.use(await connectTo(nats.url, systemClock));
    return new World(stack, folder, nats, control, bus);
  }

  get storeUrl(): string {
    return `sqlite://${this.#folder}/source.db`;
  }

  /** Of another store, for what the source has not. */
  get besideUrl(): string {
    return `sqlite://${this.#folder}/beside.db`;
  }

  /** Starts a source: see source-process.ts. */
  async source(seed: number, kind: 'own' | 'shared' = 'own', clock: 'true' | 'frozen' = 'true') {
    return this.spawn('source-process.ts', [String(seed), kind, clock]);
  }

  /** Starts a program of this folder; it says `ready` when it is. */
  spawn(program: string, args: readonly string[]): ChildProcess {
    const flags = ['--disable-warning=ExperimentalWarning', path.join(import.meta.dirname, program), ...args];
    const child = spawn(process.execPath, flags, {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: {
        ...{ PATH: process.env['PATH'], NEPHOS_NATS: this.nats.url, NEPHOS_STORE: this.storeUrl },
        ...{ NEPHOS_FAILPOINTS: this.control.path, NEPHOS_LOG_LEVEL: 'fatal', NEPHOS_DATA: this.#folder },
      },
    });
    this.#children.add(child);
    return child;
  }

  /** Reads into `handled`. */
  subscribe(options: Partial<SubscribeOptions> = {}, bus = this.bus): Subscription {
    return subscribe(bus, { name: 'oracle', ...options }, async (event) => this.#see(event));
  }

  /** Once the source is at rest and its process gone. `store`: it is open here; `handled`: by others than us. */
  async findings({ store, handled = () => this.handled }: FindingsOptions = {}): Promise<Findings> {
    const own = store ?? (await openStore({ url: this.storeUrl, clock: systemClock }));
    try {
      const kept = await keptIn(own);
      await settled(async () => (judge(handled(), kept).lost === 0 ? [] : ['some']));
      const told = await readStream(this.nats.url, streams.events);
      const stale = await settled(async () => staleOf(await readStream(this.nats.url, streams.state), kept));
      const pending = (await own.outbox.pending({ limit: 100 })).length;
      return {
        ...{ events: [...kept.values()].reduce((sum, { counter }) => sum + counter, 0) },
        ...{ stream: judge(told, kept), handler: judge(handled(), kept) },
        ...{ stale, pending, resynced: this.#resynced },
      };
    } finally {
      if (!store) await own[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) await end(child);
    await this.#stack.disposeAsync();
  }

  #see({ uid, firstSequence, sequence, resync, new: now }: EntityEvent): void {
    if (resync) this.#resynced += 1;
    const description = typeof now?.['description'] === 'string' ? now['description'] : '';
    this.handled.push({ entity: uid, first: firstSequence, sequence, description });
  }
}

export function connectTo(nats: string, clock: Clock): Promise<Bus> {
  return connectBus({ name: 'faults', clock, log: quietLog, nats, streams: streamOptions, verifyMs: 300 });
}

/** Lets a source come to rest; starts it again if it is not there to do so. */
export async function rest(world: World, seed: number, child: ChildProcess): Promise<void> {
  for (let source = child; ; ) {
    if (source.exitCode !== null || source.signalCode !== null) {
      source = await world.source(seed);
      await told(source, 'ready');
    }
    const flushed = told(source, 'metrics');
    source.send('rest', () => undefined);
    if (await flushed) return await end(source);
  }
}

/** SIGKILL, and waits until it is gone. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** The next message of a child that has this in it; undefined when the child is gone first. */
export async function told(child: ChildProcess, what: string): Promise<Record<string, unknown> | undefined> {
  const { promise, resolve } = Promise.withResolvers<Record<string, unknown> | undefined>();
  const onMessage = (message: object): void => {
    if (what in message) resolve(message as Record<string, unknown>);
  };
  const onExit = (): void => resolve(undefined);
  child.on('message', onMessage);
  child.once('exit', onExit);
  if (child.exitCode !== null || child.signalCode !== null) onExit();
  const message = await promise;
  child.off('message', onMessage);
  child.off('exit', onExit);
  return message;
}

export async function keptIn(store: Store): Promise<Map<string, Kept>> {
  const zones = await openEntity(store, zoneEntity, { source: 'source', clock: systemClock });
  const { items } = await zones.find({ limit: 1_000 });
  return new Map(
    items.map(({ id, eventSeq, value }) => [id, { counter: eventSeq, description: value.description }]),
  );
}

/** What is found once nothing is wrong any more, or after a while: what is lost never comes. */
async function settled(find: () => Promise<string[]>): Promise<string[]> {
  const giveUpAt = systemClock.monotonic() + 15_000;
  for (;;) {
    const found = await find();
    if (found.length === 0 || systemClock.monotonic() > giveUpAt) return found;
    await systemClock.sleep(100);
  }
}
