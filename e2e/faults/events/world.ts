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
  type EntityEvent,
  openEntity,
  type SubscribeOptions,
  type Subscription,
  streams,
  subscribe,
} from '@nephos/events';
import {
  type NatsAddress,
  type NatsCluster,
  type NatsServer,
  startNatsCluster,
  startNatsServer,
} from '@nephos/events/testing';
import { systemClock } from '@nephos/service';
import { openStore, type Store } from '@nephos/store';
import { FailpointControl } from '@nephos/testing';
import { connectTo } from './broker.ts';
import { zoneEntity } from './entity.ts';
import type { Load } from './load.ts';
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
  /** The same, as the relay told them. */
  readonly restated: number;
}

interface FindingsOptions {
  readonly store?: Store;
  readonly handled?: () => readonly Told[];
  /** How long what is missing may take to come, in milliseconds. Default 15 s. */
  readonly patienceMs?: number;
}

export class World<N extends NatsAddress = NatsServer> implements AsyncDisposable {
  readonly nats: N;
  readonly control: FailpointControl;
  readonly bus: Bus;
  readonly handled: Told[] = [];
  readonly #stack: AsyncDisposableStack;
  readonly #folder: string;
  readonly #replicas: number;
  readonly #children = new Set<ChildProcess>();
  #resynced = 0;

  private constructor(
    stack: AsyncDisposableStack,
    folder: string,
    { nats, replicas }: { readonly nats: N; readonly replicas: number },
    control: FailpointControl,
    bus: Bus,
  ) {
    this.#stack = stack;
    this.#folder = folder;
    this.nats = nats;
    this.#replicas = replicas;
    this.control = control;
    this.bus = bus;
  }

  static make(): Promise<World> {
    return World.#on(() => startNatsServer(), 1);
  }

  /** On three servers that let nobody in without credentials. */
  static onCluster(replicas: number): Promise<World<NatsCluster>> {
    return World.#on(() => startNatsCluster({ accounts: ['faults'] }), replicas);
  }

  static async #on<N extends NatsAddress & AsyncDisposable>(
    start: () => Promise<N>,
    replicas: number,
  ): Promise<World<N>> {
    await using opening = new AsyncDisposableStack();
    const folder = await mkdtemp(path.join(tmpdir(), 'nephos-events-faults-'));
    opening.defer(() => rm(folder, { recursive: true, force: true }));
    const nats = opening.use(await start());
    const control = opening.use(await FailpointControl.listen(path.join(folder, 'failpoints')));
    const bus = opening.use(await connectTo(nats, systemClock, replicas));
    return new World(opening.move(), folder, { nats, replicas }, control, bus);
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
        NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
        ...{
          NEPHOS_NATS_CREDS: this.nats.keys?.credsOf('faults'),
          NEPHOS_NATS_REPLICAS: `${this.#replicas}`,
        },
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
  async findings(options: FindingsOptions = {}): Promise<Findings> {
    const { store, handled = () => this.handled, patienceMs = 15_000 } = options;
    const own = store ?? (await openStore({ url: this.storeUrl, clock: systemClock }));
    try {
      const kept = await keptIn(own);
      await settled(patienceMs, async () => (judge(handled(), kept).lost === 0 ? [] : ['some']));
      const told = await readStream(this.nats, streams.events);
      const stale = await settled(patienceMs, async () =>
        staleOf(await readStream(this.nats, streams.state), kept),
      );
      const pending = (await own.outbox.pending({ limit: 100 })).length;
      return {
        ...{ events: [...kept.values()].reduce((sum, { counter }) => sum + counter, 0) },
        ...{ stream: judge(told, kept), handler: judge(handled(), kept) },
        ...{ stale, pending, resynced: this.#resynced },
        restated: told.filter(({ isRestated }) => isRestated).length,
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

/** Lets a source come to rest; starts it again if it is not there to do so. */
export async function rest(
  world: World<NatsAddress>,
  seed: number,
  child: ChildProcess,
): Promise<Load | undefined> {
  for (let source = child; ; ) {
    if (source.exitCode !== null || source.signalCode !== null) {
      source = await world.source(seed);
      await told(source, 'ready');
    }
    const flushed = told(source, 'metrics');
    source.send('rest', () => undefined);
    const message = await flushed;
    if (!message) continue;
    await end(source);
    return message['load'] as Load | undefined;
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
async function settled(patienceMs: number, find: () => Promise<string[]>): Promise<string[]> {
  const giveUpAt = systemClock.monotonic() + patienceMs;
  for (;;) {
    const found = await find();
    if (found.length === 0 || systemClock.monotonic() > giveUpAt) return found;
    await systemClock.sleep(100);
  }
}
