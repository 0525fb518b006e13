// What the tests of watches and dead letters stand on: a broker, replicas of the events service in this process or as
// processes that can be killed, and events published as a relay would.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Bus, connectBus, encodeEvent, eventId, removedHeader, subjectOf } from '@nephos/events';
import { type NatsServer, startNatsServer } from '@nephos/events/testing';
import {
  EventServiceDefinition,
  type WatchRequest,
  type WatchResponse,
} from '@nephos/proto/nephos/events/v1/event_service';
import {
  type Client,
  type Clients,
  type DeepPartial,
  formatAddress,
  openClients,
  type RunningService,
  startService,
  systemClock,
} from '@nephos/service';
import { freePort } from '@nephos/service/testing';
import { eventsService } from '../../src/service.ts';

const silent = (): void => undefined;

export type Events = Client<typeof EventServiceDefinition>;

export interface Published {
  readonly owner?: string;
  readonly zone?: string;
  readonly entity?: string;
  readonly removed?: boolean;
}

export class Stack implements AsyncDisposable {
  readonly nats: NatsServer;
  readonly bus: Bus;
  readonly clients: Clients;
  readonly #opened: AsyncDisposableStack;
  #runs = 0;

  private constructor(nats: NatsServer, bus: Bus, clients: Clients, opened: AsyncDisposableStack) {
    this.nats = nats;
    this.bus = bus;
    this.clients = clients;
    this.#opened = opened;
  }

  static async open(): Promise<Stack> {
    await using opening = new AsyncDisposableStack();
    const nats = opening.use(await startNatsServer());
    const log = { debug: silent, info: silent, warn: silent, error: silent };
    const bus = opening.use(
      await connectBus({ name: 'test', clock: systemClock, log, nats: nats.url, verifyMs: 500 }),
    );
    const clients = opening.use(openClients('users/tester'));
    return new Stack(nats, bus, clients, opening.move());
  }

  /** A replica in this process. */
  async replica(
    env: Record<string, string> = {},
  ): Promise<RunningService & { readonly at: string; readonly events: Events }> {
    const running = this.#opened.use(
      await startService(eventsService, { env: { ...(await this.#env()), ...env } }),
    );
    const at = formatAddress(running.address);
    return Object.assign(running, { at, events: this.clients.of(EventServiceDefinition, at) });
  }

  /** A replica in a process of its own. */
  async process(): Promise<{ readonly events: Events; readonly kill: () => Promise<void> }> {
    const address = `127.0.0.1:${await freePort()}`;
    const main = path.resolve(import.meta.dirname, '../../src/main.ts');
    const env = { ...process.env, ...(await this.#env()), NEPHOS_BIND: address, NODE_NO_WARNINGS: '1' };
    const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    const exited = once(child, 'exit');
    const kill = async (): Promise<void> => {
      child.kill('SIGKILL');
      await exited;
    };
    this.#opened.defer(kill);
    return { events: this.clients.of(EventServiceDefinition, address), kill };
  }

  async publish(uid: string, sequences: readonly number[], place: Published = {}): Promise<void> {
    const { owner = '', zone = '', entity = 'zone', removed = false } = place;
    const { publisher } = await this.bus.ready();
    const address = { entity, uid, owner, zone };
    const tree = entity === 'job' ? 'jobs' : 'entities';
    const words = {
      tree,
      address,
      source: '/nephos/test',
      name: `${entity}s/${uid}`,
      schema: 'Test',
    } as const;
    await Promise.all(
      sequences.map((seq) => {
        const change = { ...(!removed && { new: { description: `${seq}` } }), changedPaths: ['description'] };
        const payload = { ...words, verb: removed ? 'deleted' : 'updated', change };
        const body = encodeEvent(payload, { seq, firstSeq: seq, at: '2026-11-23T05:00:00.000Z' });
        const headers = removed ? { [removedHeader]: '1' } : {};
        return publisher.publish(
          subjectOf(tree, address),
          body,
          `${owner}/${zone}/${eventId(address, seq)}`,
          headers,
        );
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }

  async #env(): Promise<Record<string, string>> {
    const data = await mkdtemp(path.join(tmpdir(), `nephos-events-${(this.#runs += 1)}-`));
    this.#opened.defer(() => rm(data, { recursive: true, force: true }));
    return {
      NEPHOS_NATS: this.nats.url,
      NEPHOS_DATA: data,
      NEPHOS_LOG_LEVEL: 'silent',
      NEPHOS_DRAIN_DELAY: '0s',
      NEPHOS_DRAIN_GRACE: '2s',
      NEPHOS_EVENTS_HEARTBEAT: '1s',
    };
  }
}

export const upTo = (count: number, from = 1): number[] =>
  Array.from({ length: count }, (_, at) => at + from);

/** A watch that is read by hand. */
export class Watcher implements AsyncDisposable {
  readonly #answers: AsyncIterator<WatchResponse>;
  readonly #over = new AbortController();
  token = '';
  /** `entity/uid/sequence` of all events so far. */
  readonly ids: string[] = [];

  constructor(events: Events, request: DeepPartial<WatchRequest>) {
    this.#answers = events
      .watch(request, { signal: this.#over.signal, waitForReady: true })
      [Symbol.asyncIterator]();
  }

  /** The next message; undefined at the end. */
  async next(): Promise<WatchResponse | undefined> {
    const { value, done } = await this.#answers.next();
    if (done === true) return undefined;
    this.token = value.resumeToken || this.token;
    const said = value.message;
    if (said?.$case === 'change' || said?.$case === 'snapshot') this.ids.push(said.value.id);
    return value;
  }

  /** Reads until a message of that kind. */
  async until(
    kind: NonNullable<WatchResponse['message']>['$case'],
    fits: (said: WatchResponse) => boolean = () => true,
  ): Promise<WatchResponse> {
    for (;;) {
      const said = await this.next();
      if (said === undefined) throw new Error(`the watch ended without ${kind}`);
      if (said.message?.$case === kind && fits(said)) return said;
    }
  }

  /** Reads until so many events in all have come. */
  async events(count: number): Promise<readonly string[]> {
    while (this.ids.length < count)
      if ((await this.next()) === undefined) throw new Error('the watch ended early');
    return this.ids;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#answers.return?.().catch(() => undefined);
  }
}
