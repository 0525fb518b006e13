/**
 * The connection to the broker, for as long as the service lives.
 * It connects in the background and for ever again; a session is one period of being connected, with the
 * streams in place. Nothing here waits for the broker unless it asks to. A crash leaves nothing.
 */
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { AuthorizationError, type NatsConnection } from '@nats-io/nats-core';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import { credsReader } from '@nephos/nats-accounts';
import { type Clock, Precondition } from '@nephos/service';
import type { EventsContext, EventsLog } from './context.ts';
import { answerDiscovery, type Discoverable } from './discovery.ts';
import { Publisher } from './publisher.ts';
import { ensureStreams, type Incarnation, type StreamOptions } from './streams.ts';

/** A period of being connected. */
export interface Session {
  readonly connection: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly publisher: Publisher;
  readonly incarnation: Incarnation;
  /** Aborted when the connection is lost or the bus closes. */
  readonly signal: AbortSignal;
}

export interface Bus extends AsyncDisposable {
  readonly clock: Clock;
  readonly log: EventsLog;
  /** Undefined while not connected. */
  readonly session: Session | undefined;
  /** Resolves with the session once there is one; rejects when the signal aborts or the bus closes. */
  ready(signal?: AbortSignal): Promise<Session>;
  /** To be called when a stream of the session is missing: ends it, makes what is missing and begins another. */
  renew(session: Session): void;
  /** Calls back with the session there is, and with each later one. */
  onSession(listener: (session: Session) => void): Disposable;
}

export interface BusOptions extends EventsContext {
  /** The servers, comma-separated, e.g. `nats://a:4222,nats://b:4222`; whichever is there serves. */
  readonly nats: string;
  /** File of credentials, read at each connection; empty or left out where the broker asks for none. */
  readonly natsCreds?: string | undefined;
  readonly streams?: StreamOptions;
  /** Where JSON Schemas of events are served, `http://host:port`; empty or left out: nowhere. */
  readonly schemaBase?: string | undefined;
  /** How often it looks whether the streams are still those of the session, in milliseconds. Default 15 s. */
  readonly verifyMs?: number;
}

/**
 * A service's context: the address is its NEPHOS_NATS, the credentials are those of NEPHOS_NATS_CREDS. A whole
 * ServiceContext also makes the service answer NATS's service discovery.
 */
export interface BusContext extends EventsContext, Partial<Omit<Discoverable, 'name' | 'config'>> {
  readonly config: {
    readonly nats: string | URL;
    readonly natsCreds?: string;
    readonly natsReplicas?: number;
    readonly schemaBase?: string;
    readonly zone?: string;
  };
}

/**
 * Opens the bus. Resolves at once, whether or not the broker is there. Throws `Precondition` where the file of
 * credentials cannot be read.
 */
export async function connectBus(context: BusOptions | BusContext): Promise<Bus> {
  const options: BusOptions = 'nats' in context ? context : { ...partsOf(context), ...addressIn(context) };
  if (options.natsCreds) credsReader(options.natsCreds)();
  const bus = new NatsBus(options);
  context.resources?.use(bus);
  if (!('nats' in context) && isDiscoverable(context)) answerDiscovery(bus, context);
  return bus;
}

function isDiscoverable(context: BusContext): context is BusContext & Discoverable {
  const { instanceId, version, server, lifecycle, config } = context;
  return [instanceId, version, server, lifecycle, config.zone].every((part) => part !== undefined);
}

function partsOf(context: BusContext): EventsContext {
  return { name: context.name, clock: context.clock, log: context.log };
}

function addressIn({
  config,
}: BusContext): Pick<BusOptions, 'nats' | 'natsCreds' | 'streams' | 'schemaBase'> {
  const { natsCreds, natsReplicas: replicas, schemaBase } = config;
  return {
    nats: String(config.nats),
    natsCreds,
    schemaBase,
    ...(replicas !== undefined && { streams: { replicas } }),
  };
}

/** Between attempts to connect, to reconnect and to find JetStream ready, in milliseconds. */
const retryMs = 250;

class NatsBus implements Bus {
  readonly clock: Clock;
  readonly log: EventsLog;
  readonly #options: BusOptions;
  readonly #closing = new AbortController();
  readonly #listeners = new Set<(session: Session) => void>();
  readonly #ended: Promise<void>;
  #connection: NatsConnection | undefined;
  #session: (Session & { readonly end: AbortController }) | undefined;

  constructor(options: BusOptions) {
    this.clock = options.clock;
    this.log = options.log;
    this.#options = options;
    this.#ended = this.#live();
  }

  get session(): Session | undefined {
    return this.#session;
  }

  ready(signal?: AbortSignal): Promise<Session> {
    return new Promise((resolve, reject) => {
      if (this.#session) return resolve(this.#session);
      const ends = signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
      if (ends.aborted) return reject(ends.reason as Error);
      const onAbort = () => {
        listener[Symbol.dispose]();
        reject(ends.reason as Error);
      };
      const listener = this.onSession((session) => {
        listener[Symbol.dispose]();
        ends.removeEventListener('abort', onAbort);
        resolve(session);
      });
      ends.addEventListener('abort', onAbort, { once: true });
    });
  }

  onSession(listener: (session: Session) => void): Disposable {
    // A wrapper, so that the same function may listen twice.
    const entry = (session: Session) => listener(session);
    this.#listeners.add(entry);
    if (this.#session) entry(this.#session);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  renew(session: Session): void {
    if (this.#session !== session || this.#closing.signal.aborted) return;
    this.log.warn({}, 'a stream is missing at the broker, or was made anew');
    this.#endSession();
    void this.#begin(session.connection);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the bus is closed'));
    this.#endSession();
    await this.#connection?.drain().catch(() => this.#connection?.close());
    await this.#ended;
  }

  async #live(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      try {
        const connection = await this.#connect();
        this.#connection = connection;
        if (this.#closing.signal.aborted) return await connection.close();
        await this.#watch(connection);
      } catch (error) {
        this.log.debug({ error }, 'no connection to the broker yet');
        this.#noteRefusal(error instanceof AuthorizationError);
      }
      await this.clock.sleep(retryMs, this.#closing.signal).catch(() => undefined);
    }
  }

  #refused = false;

  /** Said once: an operator would look for it in vain among the attempts. */
  #noteRefusal(refused: boolean): void {
    const file = this.#options.natsCreds || 'none';
    if (refused && !this.#refused) this.log.warn({ file }, 'the broker refuses our credentials');
    this.#refused = refused;
  }

  #connect(): Promise<NatsConnection> {
    const { nats, natsCreds } = this.#options;
    return connect({
      servers: nats.split(',').map((server) => server.trim()),
      ...(natsCreds && { authenticator: credsAuthenticator(credsReader(natsCreds)) }),
      name: `nephos/${this.#options.name}`,
      maxReconnectAttempts: -1,
      reconnectTimeWait: retryMs,
      reconnectJitter: retryMs,
      ignoreAuthErrorAbort: true,
      pingInterval: 10_000,
      timeout: 5_000,
      noAsyncTraces: true,
    });
  }

  /** Follows the connection until it is closed for good. */
  async #watch(connection: NatsConnection): Promise<void> {
    const status = connection.status();
    void this.#begin(connection);
    for await (const { type } of status) {
      if (type === 'disconnect') {
        this.log.warn({}, 'the connection to the broker is lost');
        this.#endSession();
      }
      if (type === 'reconnect') {
        this.log.info({}, 'connected to the broker again');
        this.#endSession();
        void this.#begin(connection);
      }
    }
    this.#endSession();
  }

  #attempt = 0;

  /** Puts the streams in place and begins a session; gives up when a later attempt begins. */
  async #begin(connection: NatsConnection): Promise<void> {
    const attempt = (this.#attempt += 1);
    const overtaken = () =>
      attempt !== this.#attempt || this.#closing.signal.aborted || connection.isClosed();
    for (let tries = 1; !overtaken(); tries += 1) {
      try {
        const jsm = await jetstreamManager(connection, { timeout: 5_000 });
        const incarnation = await ensureStreams(jsm, this.#options.streams ?? {}, this.log, this.clock);
        if (!overtaken()) this.#open(connection, jsm, incarnation);
        return;
      } catch (error) {
        // A setting that the broker cannot meet is not waited out: an operator is to hear of it at once.
        if (error instanceof Precondition && tries === 1) this.log.error({ error }, error.message);
        else if (tries % 40 === 0) this.log.warn({ error, tries }, 'the broker has no streams for us yet');
        await this.clock.sleep(retryMs, this.#closing.signal).catch(() => undefined);
      }
    }
  }

  #open(connection: NatsConnection, jsm: JetStreamManager, incarnation: Incarnation): void {
    const end = new AbortController();
    const publisher = new Publisher(
      connection,
      this.clock,
      () => this.renew(session),
      this.#options.schemaBase,
    );
    const session = {
      connection,
      js: jetstream(connection, { timeout: 5_000 }),
      jsm,
      publisher,
      incarnation,
      signal: end.signal,
      end,
    };
    this.#session = session;
    this.#verifyNowAndThen(session);
    for (const listener of [...this.#listeners]) listener(session);
  }

  /** Others may have made lost streams anew before we could miss them. */
  #verifyNowAndThen(session: Session): void {
    const verify = async (): Promise<void> => {
      try {
        const incarnation = await ensureStreams(
          session.jsm,
          this.#options.streams ?? {},
          this.log,
          this.clock,
        );
        if (incarnation !== session.incarnation) this.renew(session);
      } catch (error) {
        this.log.debug({ error }, 'the streams could not be looked at');
      }
    };
    const timer = this.clock.every(this.#options.verifyMs ?? 15_000, () => void verify());
    session.signal.addEventListener('abort', () => timer[Symbol.dispose](), { once: true });
  }

  #endSession(): void {
    this.#attempt += 1;
    const session = this.#session;
    this.#session = undefined;
    session?.publisher[Symbol.dispose]();
    session?.end.abort(new Error('the connection to the broker is lost'));
  }
}
