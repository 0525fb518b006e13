/**
 * The gRPC server of a service: contracts with their implementations, health, reflection, limits and the drain.
 * Invariants: every status that leaves carries ErrorInfo, also those that grpc-js makes by itself; a drain lets
 * unary calls finish and ends open streams with SERVER_DRAINING.
 */
import {
  logVerbosity,
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerInterceptingCall,
  type ServerInterceptor,
  type StatusObject,
  type sendUnaryData,
  setLogVerbosity,
  status,
} from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { type Address, formatAddress } from './address.ts';
import type { Around, Call } from './call.ts';
import type { Mutable, ServedCount } from './call-counts.ts';
import type { Clock } from './clock.ts';
import type { Implementation, MethodContract, ServiceContract } from './contract.ts';
import { Unavailable, Unimplemented } from './errors.ts';
import { HealthService } from './health.ts';
import { metadataKeys, readText } from './metadata.ts';
import { registerReflection } from './reflection.ts';
import type { ServerCall } from './server-call.ts';
import {
  type BoundMethod,
  bidiHandler,
  clientStreamHandler,
  type HandlerEnvironment,
  lastWordsMs,
  serverStreamHandler,
  unaryHandler,
} from './server-handlers.ts';
import { fromStatus, toStatus } from './status.ts';
import { bytesAsTheyAre } from './streams.ts';
import type { RpcTelemetry } from './telemetry.ts';

/** The largest message a server takes: larger ones are refused with MESSAGE_TOO_LARGE. */
export const maxMessageBytes = 4 * 2 ** 20;
/** Streams at once on one connection; further calls wait in the client. */
const maxStreams = 1000;

// What grpc-js would print by itself, e.g. of an address that is taken, comes as an error too.
setLogVerbosity(logVerbosity.NONE);

const serverOptions = {
  'grpc.max_receive_message_length': maxMessageBytes,
  'grpc.max_concurrent_streams': maxStreams,
  // Longer than the longest default deadline: during a drain shorter ones kill calls under way.
  'grpc.keepalive_time_ms': 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
  // grpc-js cuts at a forced shutdown only the connections that channelz knows of.
  'grpc.enable_channelz': 1,
};

export interface ServerEnvironment {
  readonly log: Logger;
  readonly clock: Clock;
  readonly telemetry: RpcTelemetry;
}

/** What a service sees of its server. */
export interface RpcServer {
  /** Serves a contract. Methods left out (by a cast) answer METHOD_UNKNOWN. */
  add<D extends ServiceContract>(definition: D, implementation: Implementation<D>): void;
  /** Wraps every call from here on; the first added is the outermost. */
  around(interceptor: Around): void;
  /** Full names of the contracts served. */
  readonly services: readonly string[];
  /** What was answered so far, a count a contract. */
  readonly served: readonly ServedCount[];
}

export class GrpcServer implements RpcServer {
  readonly health: HealthService;
  readonly #grpc: Server;
  readonly #env: HandlerEnvironment & { readonly around: Around[] };
  readonly #served: Mutable<ServedCount>[] = [];
  #draining = false;

  constructor({ log, clock, telemetry }: ServerEnvironment) {
    this.#env = { log, clock, telemetry, around: [], open: new Set<ServerCall>() };
    this.#grpc = new Server({ ...serverOptions, interceptors: [enrichStatuses] });
    answerUnknownMethods(this.#grpc);
    this.health = new HealthService();
    this.health.register(this.#grpc);
    registerReflection(this.#grpc, () => this.services);
  }

  get services(): readonly string[] {
    return this.#served.map(({ contract }) => contract);
  }

  get served(): readonly ServedCount[] {
    return this.#served;
  }

  add<D extends ServiceContract>(definition: D, implementation: Implementation<D>): void {
    const served = { contract: definition.fullName, calls: 0, failures: 0, busyMs: 0 };
    this.#served.push(served);
    this.health.add(definition.fullName);
    for (const [key, method] of Object.entries(definition.methods)) {
      const path = `/${definition.fullName}/${method.name}`;
      const given: unknown = Reflect.get(implementation, key);
      const handler =
        typeof given === 'function'
          ? (input: unknown, call: Call): unknown => Reflect.apply(given, implementation, [input, call])
          : () => {
              throw methodUnknown(path);
            };
      const { requestType, responseType } = method;
      const added = this.#register(method, { path, requestType, responseType, handler, served });
      if (!added) throw new Error(`${path} is served already`);
    }
  }

  around(interceptor: Around): void {
    this.#env.around.push(interceptor);
  }

  /** Listens. Rejects where the address cannot be had. */
  listen({ host, port }: Address): Promise<Address> {
    return new Promise((resolve, reject) => {
      this.#grpc.bindAsync(
        formatAddress({ host, port }),
        ServerCredentials.createInsecure(),
        (error, bound) => {
          if (error === null) resolve({ host, port: bound });
          else
            reject(
              new Unavailable('SERVICE_UNAVAILABLE', `cannot listen on ${host}:${port}: ${error.message}`),
            );
        },
      );
    });
  }

  /**
   * The end of a drain, after health and directory have said so: open streams are broken off, unary calls may
   * finish within `graceMs`, then what is left is told SERVER_DRAINING and cut. The same again does nothing.
   */
  async close(graceMs: number): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    this.health.close();
    const ended = new Promise<void>((resolve) => this.#grpc.tryShutdown(() => resolve()));
    const { open, log } = this.#env;
    const draining = new Unavailable('SERVER_DRAINING', 'the server is draining: another instance answers');
    for (const call of open) if (call.streaming) call.abort(draining);
    if (await this.#within(graceMs, ended)) return;
    log.warn(
      { graceMs, calls: [...open].map(({ method }) => method) },
      'calls outlasted the drain and are cut',
    );
    for (const call of open) call.cut(draining);
    if (await this.#within(lastWordsMs, ended)) return;
    this.#grpc.forceShutdown();
  }

  async #within(ms: number, ended: Promise<void>): Promise<boolean> {
    using timer = new DisposableStack();
    const late = new Promise<false>((resolve) => timer.use(this.#env.clock.timer(ms, () => resolve(false))));
    return await Promise.race([ended.then(() => true), late]);
  }

  #register(method: MethodContract, bound: BoundMethod): boolean {
    const { path } = bound;
    const env = this.#env;
    if (method.requestStream) {
      return method.responseStream
        ? this.#grpc.register(path, bidiHandler(bound, env), bytesAsTheyAre, bytesAsTheyAre, 'bidi')
        : this.#grpc.register(
            path,
            clientStreamHandler(bound, env),
            bytesAsTheyAre,
            bytesAsTheyAre,
            'clientStream',
          );
    }
    return method.responseStream
      ? this.#grpc.register(
          path,
          serverStreamHandler(bound, env),
          bytesAsTheyAre,
          bytesAsTheyAre,
          'serverStream',
        )
      : this.#grpc.register(path, unaryHandler(bound, env), bytesAsTheyAre, bytesAsTheyAre, 'unary');
  }
}

function methodUnknown(path: string): Unimplemented {
  return new Unimplemented('METHOD_UNKNOWN', `${path} is not served here`);
}

/**
 * grpc-js makes some statuses by itself: message too large, deadline passed, a message that does not
 * decompress. They leave through the call's `sendStatus`: details are added there. A wrapper around each call
 * would cost more than the rest of this layer, so the call itself is given back.
 */
const enrichStatuses: ServerInterceptor = (_method, call) => {
  const send = call.sendStatus.bind(call);
  call.sendStatus = (sent) =>
    send(needsDetails(sent) ? toStatus(fromStatus({ code: sent.code, details: sent.details }), '') : sent);
  return call as ServerInterceptingCall;
};

function needsDetails(
  sent: Pick<StatusObject, 'code'> & { readonly metadata?: Metadata | null | undefined },
): boolean {
  return sent.code !== status.OK && (sent.metadata ?? null) === null;
}

/**
 * A method that nobody registered. grpc-js has no public hook for these, only its lookup; should a later version
 * look up otherwise, such calls get its plain UNIMPLEMENTED, which our clients read as METHOD_UNKNOWN too.
 */
function answerUnknownMethods(server: Server): void {
  const lookup: unknown = Reflect.get(server, '_retrieveHandler');
  if (typeof lookup !== 'function') return;
  Reflect.set(server, '_retrieveHandler', (path: string): unknown => {
    return Reflect.apply(lookup, server, [path]) ?? unknownMethod(path);
  });
}

function unknownMethod(path: string) {
  const func = (surface: ServerDuplexStream<Buffer, Buffer>, _callback?: sendUnaryData<Buffer>): void => {
    const requestId = readText(surface.metadata, metadataKeys.requestId) ?? '';
    surface.emit('error', toStatus(methodUnknown(path), requestId));
  };
  return { func, serialize: bytesAsTheyAre, deserialize: bytesAsTheyAre, type: 'bidi', path };
}
