/**
 * A steady load on a platform, as its users make it, that counts: whole lives of VMs, reads, changes, waits, streams
 * and a durable subscription. A call that fails is a failure, whatever the client had tried before it gave up; a stream
 * that a draining server ends is gone on with, and counted. It knows nothing of what happens to the platform meanwhile.
 */
import { connectBus, type EntityEvent, subscribe } from '@nephos/events';
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import {
  EventServiceDefinition,
  StartPoint,
  type WatchResponse,
} from '@nephos/proto/nephos/events/v1/event_service';
import { type CallOptions, NephosError, systemClock } from '@nephos/service';
import { type Ground, nameOf, type Platform, type PlatformApi } from '@nephos/testing';

export interface LoadOptions {
  /** VMs whose lives go on at once. Default 3. */
  readonly lives?: number;
  /** Readers at once. Default 2. */
  readonly readers?: number;
  /** False: a client that neither waits for a connection nor tries again. Default true. */
  readonly patient?: boolean;
}

export interface Counts {
  /** Calls by method, those that failed among them. */
  readonly calls: Readonly<Record<string, number>>;
  readonly total: number;
  /** Each a line: the call, and what it failed with. */
  readonly failures: readonly string[];
  readonly lives: number;
  /** Operations that did not end as asked. */
  readonly misended: readonly string[];
  /** Streams that ended with a drain or broke off, and went on elsewhere. */
  readonly reconnects: number;
  /** Events that the durable subscription handled, and the watch over gRPC saw. */
  readonly handled: number;
  readonly watched: number;
  /** The last sequence of each VM that both saw. */
  readonly lastHandled: ReadonlyMap<string, number>;
  readonly lastWatched: ReadonlyMap<string, number>;
  /** What was wrong with the events that they saw. */
  readonly disorder: readonly string[];
}

const pauseMs = 20;
const quietMs = 1_000;
const mostQuietMs = 30_000;
const waitSeconds = 20n;
/** Of a wait: far above what it lasts, so that a starved machine is no failed call. */
const deadlineMs = 60_000;
const log = { debug() {}, info() {}, warn() {}, error() {} };

/** Follows one reader of events: each entity's sequence rises by one. */
class Sequences {
  readonly problems: string[] = [];
  readonly last = new Map<string, number>();
  events = 0;
  readonly #reader: string;
  readonly #mayRepeat: boolean;

  constructor(reader: string, options: { readonly mayRepeat: boolean }) {
    this.#reader = reader;
    this.#mayRepeat = options.mayRepeat;
  }

  saw({ uid, sequence, firstSequence }: Pick<EntityEvent, 'uid' | 'sequence' | 'firstSequence'>): void {
    this.events += 1;
    const last = this.last.get(uid) ?? 0;
    if (sequence <= last && this.#mayRepeat) return;
    if (sequence <= last) this.problems.push(`${this.#reader}: ${uid} ${sequence} came again after ${last}`);
    else if (firstSequence > last + 1)
      this.problems.push(`${this.#reader}: ${uid} ${sequence} came after ${last}`);
    this.last.set(uid, Math.max(last, sequence));
  }
}

export class Load implements AsyncDisposable {
  readonly #platform: Pick<Platform, 'nats' | 'clients'>;
  readonly #api: PlatformApi;
  readonly #ground: Ground;
  readonly #options: Required<LoadOptions>;
  /** No more work begins. */
  readonly #stop = new AbortController();
  /** No more events are read. */
  readonly #end = new AbortController();
  readonly #calls = new Map<string, number>();
  readonly #failures: string[] = [];
  readonly #misended: string[] = [];
  readonly #known = new Set<string>();
  readonly #durable = new Sequences('subscription', { mayRepeat: false });
  readonly #watch = new Sequences('watch', { mayRepeat: true });
  readonly #bus = new AsyncDisposableStack();
  #lives = 0;
  #reconnects = 0;
  #running: Promise<void>[] = [];
  #watching: Promise<void> = Promise.resolve();

  constructor(platform: Platform, ground: Ground, options: LoadOptions = {}) {
    this.#platform = platform;
    this.#ground = ground;
    this.#options = { lives: 3, readers: 2, patient: true, ...options };
    this.#api = this.#options.patient ? platform.api : impatient(platform.api);
  }

  async start(): Promise<void> {
    const { lives, readers } = this.#options;
    const { nats } = this.#platform;
    const natsCreds = nats.keys?.credsOf('test');
    const bus = this.#bus.use(
      await connectBus({ nats: nats.url, natsCreds, name: 'load', clock: systemClock, log }),
    );
    const subscription = this.#bus.use(
      subscribe(bus, { name: 'load', filter: { entity: 'vm' }, from: 'all' }, async (event) => {
        this.#durable.saw(event);
      }),
    );
    await subscription.started;
    this.#running = [
      ...Array.from({ length: lives }, (_, at) => this.#loop(() => this.#life(at))),
      ...Array.from({ length: readers }, () => this.#loop(() => this.#read())),
      this.#loop(() => this.#change()),
    ];
    this.#watching = this.#watchEvents();
  }

  /** Lets every life end that has begun and every event come, and says what happened. */
  async stop(): Promise<Counts> {
    this.#stop.abort();
    await Promise.all(this.#running);
    await this.#quiet();
    this.#end.abort();
    await this.#watching;
    await this.#bus.disposeAsync();
    const calls = Object.fromEntries([...this.#calls].toSorted(([a], [b]) => a.localeCompare(b)));
    return {
      calls,
      total: Object.values(calls).reduce((sum, count) => sum + count, 0),
      failures: this.#failures,
      lives: this.#lives,
      misended: this.#misended,
      reconnects: this.#reconnects,
      handled: this.#durable.events,
      watched: this.#watch.events,
      lastHandled: this.#durable.last,
      lastWatched: this.#watch.last,
      disorder: [...this.#durable.problems, ...this.#watch.problems],
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Both readers saw the same last event of each VM, and nothing new for a while; at most half a minute. */
  async #quiet(): Promise<void> {
    const deadline = systemClock.monotonic() + mostQuietMs;
    let [before, since] = [-1, systemClock.monotonic()];
    while (systemClock.monotonic() < deadline) {
      const now = this.#durable.events + this.#watch.events;
      if (now !== before) [before, since] = [now, systemClock.monotonic()];
      const level = [...this.#durable.last].every(([uid, last]) => this.#watch.last.get(uid) === last);
      if (level && systemClock.monotonic() - since > quietMs) return;
      await systemClock.sleep(pauseMs);
    }
  }

  #sawMessage({ message }: WatchResponse): void {
    if (message?.$case !== 'change') return;
    const { uid, sequence, firstSequence } = message.value;
    this.#watch.saw({ uid, sequence: Number(sequence), firstSequence: Number(firstSequence) });
  }

  async #loop(work: () => Promise<void>): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        await work();
      } catch (error) {
        // Counted where it failed; anything else is the load's own fault.
        if (!(error instanceof NephosError)) throw error;
      }
      await systemClock.sleep(pauseMs, this.#stop.signal).catch(() => undefined);
    }
  }

  async #call<R>(name: string, call: () => Promise<R>): Promise<R> {
    this.#calls.set(name, (this.#calls.get(name) ?? 0) + 1);
    try {
      return await call();
    } catch (error) {
      const why =
        error instanceof NephosError ? `${error.kind} ${error.reason}: ${error.message}` : String(error);
      this.#failures.push(`${name}: ${why}`);
      throw error;
    }
  }

  /** From nothing to nothing. */
  async #life(at: number): Promise<void> {
    const { vms } = this.#api;
    const { zone, template } = this.#ground;
    const displayName = `load-${at}-${this.#lives}-${systemClock.monotonic()}`;
    const vm = { header: { displayName, zone }, spec: { vcpus: 1, memoryBytes: 2n ** 27n, template } };
    const created = await this.#call('CreateVm', () => vms.createVm({ vm }));
    const done = await this.#ended('create', created);
    const name = nameOf(
      (await this.#call('ListVms', () => vms.listVms({ filter: `display_name = "${displayName}"` }))).vms[0],
    );
    if (done.result?.$case !== 'response') return;
    this.#known.add(name);
    const header = { name, labels: { round: String(at) } };
    await this.#call('UpdateVm', () => vms.updateVm({ vm: { header }, updateMask: ['header.labels'] }));
    await this.#ended('stop', await this.#call('StopVm', () => vms.stopVm({ name })));
    await this.#ended('start', await this.#call('StartVm', () => vms.startVm({ name })));
    await this.#ended('delete', await this.#call('DeleteVm', () => vms.deleteVm({ name })));
    this.#known.delete(name);
    await this.#ended('expunge', await this.#call('ExpungeVm', () => vms.expungeVm({ name })));
    this.#lives += 1;
  }

  async #ended(verb: string, { name }: Operation): Promise<Operation> {
    const { operations } = this.#api;
    for (;;) {
      const wait = { name, timeout: { seconds: waitSeconds } };
      const operation = await this.#call('WaitOperation', () =>
        operations.waitOperation(wait, { deadlineMs }),
      );
      if (!operation.done) continue;
      const error = operation.result?.$case === 'error' ? operation.result.value : undefined;
      if (error !== undefined) this.#misended.push(`${verb} ${name}: ${error.message}`);
      return operation;
    }
  }

  async #read(): Promise<void> {
    const api = this.#api;
    const [known] = this.#known;
    const { template, zone } = this.#ground;
    await this.#call('ListVms', () => api.vms.listVms({ pageSize: 50 }));
    if (known !== undefined)
      await this.#call('GetVm', () => this.#unlessGone(api.vms.getVm({ name: known })));
    await this.#call('ListHosts', () => api.hosts.listHosts({}));
    await this.#call('GetZone', () => api.zones.getZone({ name: zone }));
    await this.#call('GetTemplate', () => api.templates.getTemplate({ name: template }));
    await this.#call('ReadTemplate', () =>
      Array.fromAsync(api.templates.readTemplate({ name: template, length: 512n })),
    );
    await this.#call('ListJobs', () => api.jobs.listJobs({ pageSize: 10 }));
    await this.#call('ListInstances', () => api.directory.listInstances({}));
  }

  /** It may be expunged between being picked and being read. */
  async #unlessGone(work: Promise<unknown>): Promise<void> {
    await work.catch((error: unknown) => {
      if (!(error instanceof NephosError && error.kind === 'not-found')) throw error;
    });
  }

  async #change(): Promise<void> {
    const { zones } = this.#api;
    const description = `as of ${systemClock.monotonic()}`;
    const zone = { header: { name: this.#ground.zone }, description };
    const changed = await this.#call('UpdateZone', () =>
      zones.updateZone({ zone, updateMask: ['description'] }),
    );
    if (changed.description !== description)
      this.#misended.push(`UpdateZone: ${changed.description}, not ${description}`);
  }

  /** Over gRPC, with its token from one instance to the next. */
  async #watchEvents(): Promise<void> {
    const client = this.#platform.clients.of(EventServiceDefinition, 'events');
    const { signal } = this.#end;
    let token = '';
    while (!signal.aborted) {
      const start =
        token === ''
          ? ({ $case: 'point', value: StartPoint.EARLIEST } as const)
          : ({ $case: 'resumeToken', value: token } as const);
      try {
        for await (const message of client.watch(
          { filter: { entity: 'vm' }, start },
          { signal, waitForReady: true },
        )) {
          token = message.resumeToken === '' ? token : message.resumeToken;
          this.#sawMessage(message);
        }
      } catch (error) {
        if (signal.aborted) return;
        const passes = error instanceof NephosError && error.kind === 'unavailable';
        if (!passes) this.#failures.push(`Watch: ${String(error)}`);
      }
      if (!signal.aborted) this.#reconnects += 1;
      await systemClock.sleep(pauseMs, signal).catch(() => undefined);
    }
  }
}

type Method = (request: unknown, options?: CallOptions) => unknown;

/** The same clients, each call of which is one attempt. */
function impatient(api: PlatformApi): PlatformApi {
  const clients = Object.entries<unknown>(api).map(([name, client]) => {
    if (Array.isArray(client)) return [name, client] as const;
    const methods = Object.entries(client as Record<string, Method>).map(([verb, call]) => {
      const once: Method = (request, options) =>
        call(request, { ...options, attempts: 1, waitForReady: false });
      return [verb, once] as const;
    });
    return [name, Object.fromEntries(methods)] as const;
  });
  return Object.fromEntries(clients) as unknown as PlatformApi;
}
