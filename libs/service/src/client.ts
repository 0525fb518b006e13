/**
 * Typed clients. A call hands on by itself what is left of the deadline, the principal, the request id and the
 * trace of the call being served; a unary call mints a missing request id once and keeps it in all attempts.
 * Only UNAVAILABLE is tried again, and only for unary calls: a stream's caller knows where it stood.
 */
import type {
  ClientReadableStream,
  ClientWritableStream,
  Client as GrpcClient,
  Metadata,
  ServiceError,
} from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import type { CallOptions } from './call.ts';
import { type Clock, systemClock } from './clock.ts';
import { currentCallOrigin, currentOrigin, currentTrace } from './context.ts';
import type { Client, MessageType, MethodContract, ServiceContract } from './contract.ts';
import { Cancelled, DeadlineExceeded, NephosError } from './errors.ts';
import { writeMetadata, writeTrace } from './metadata.ts';
import { type Backoff, pauseAfter } from './retry.ts';
import { codeOf, fromStatus } from './status.ts';
import { toBuffer, untilDrained } from './streams.ts';
import type { Observation, RpcTelemetry } from './telemetry.ts';
import { newUid } from './uid.ts';

/** What all clients of a service share. */
export interface ClientEnvironment {
  readonly clock: Clock;
  readonly telemetry: RpcTelemetry;
  /** Who calls where no call is being served, e.g. `services/orchestrator`. */
  readonly principal: string;
}

/** One connection pool, and how calls on it wait. */
export interface Channel {
  readonly grpc: GrpcClient;
  readonly waitForReady: boolean;
}

/** Unary calls end after this unless their caller says otherwise. */
export const defaultDeadlineMs = 30_000;
const attempts = 5;
const backoff: Backoff = { firstMs: 50, maxMs: 2000 };

const bytesAsTheyAre = (bytes: Buffer): Buffer => bytes;

interface Method {
  readonly path: string;
  readonly requestType: MessageType<unknown>;
  readonly responseType: MessageType<unknown>;
}

/** One call as it goes out, worked out once for all its attempts. */
interface Outgoing {
  readonly metadata: Metadata;
  /** By the clock that grpc-js itself reads, milliseconds; Infinity: none. */
  readonly deadline: number;
  /** What cancels it: the caller's own signal and that of the call being served. */
  readonly signals: readonly AbortSignal[];
  readonly observation: Observation | undefined;
}

function outgoing(
  path: string,
  options: CallOptions,
  channel: Channel,
  env: ClientEnvironment,
  limitMs: number,
): Outgoing {
  const origin = currentOrigin();
  const call = currentCallOrigin();
  const left = Math.min(options.deadlineMs ?? limitMs, call === undefined ? Infinity : call.left());
  if (left <= 0) throw new DeadlineExceeded('DEADLINE_EXCEEDED', `no time is left to call ${path}`);
  const metadata = writeMetadata({
    requestId: options.requestId ?? origin.requestId ?? newUid(),
    principal: options.principal ?? (origin.principal || env.principal),
    onBehalfOf: options.onBehalfOf ?? origin.onBehalfOf,
    waitForReady: options.waitForReady ?? channel.waitForReady,
    extra: options.metadata,
  });
  const parent = currentTrace();
  const observation = env.telemetry.observe('client', path, parent);
  writeTrace(metadata, observation?.trace ?? parent);
  const signals: AbortSignal[] = [];
  if (options.signal !== undefined) signals.push(options.signal);
  if (call?.detached !== true && origin.signal !== undefined) signals.push(origin.signal);
  const deadline = left === Infinity ? Infinity : systemClock.now().getTime() + left;
  return { metadata, deadline, signals, observation };
}

/** Watches the signals while a call runs. Disposing stops the watch. */
function onAbort(signals: readonly AbortSignal[], cancel: () => void): Disposable {
  for (const signal of signals) {
    if (signal.aborted) cancel();
    else signal.addEventListener('abort', cancel, { once: true });
  }
  return {
    [Symbol.dispose]() {
      for (const signal of signals) signal.removeEventListener('abort', cancel);
    },
  };
}

/** Why one of the signals ended the call, if it did. */
function abortReason(signals: readonly AbortSignal[]): NephosError | undefined {
  for (const { aborted, reason } of signals) {
    if (!aborted) continue;
    return reason instanceof NephosError
      ? reason
      : new Cancelled('CALL_CANCELLED', 'the call was cancelled', { cause: reason });
  }
  return undefined;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error;
}

function failureOf(error: unknown, { signals }: Outgoing): unknown {
  if (!isServiceError(error)) return error;
  if (error.code === status.CANCELLED) return abortReason(signals) ?? fromStatus(error);
  return fromStatus(error);
}

function encode(type: MessageType<unknown>, value: unknown): Buffer {
  return toBuffer(type.encode(type.fromPartial(value as object)).finish());
}

function endObservation({ observation }: Outgoing, error: unknown): void {
  if (observation === undefined) return;
  if (error === undefined) observation.end(status.OK);
  else if (error instanceof NephosError) observation.end(codeOf(error), error);
  else observation.end(status.INTERNAL);
}

/** One attempt of a unary call. */
function attempt(method: Method, bytes: Buffer, { grpc }: Channel, call: Outgoing): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let watch: Disposable | undefined;
    const surface = grpc.makeUnaryRequest(
      method.path,
      bytesAsTheyAre,
      bytesAsTheyAre,
      bytes,
      call.metadata,
      call.deadline === Infinity ? {} : { deadline: call.deadline },
      (error: ServiceError | null, answer?: Buffer) => {
        watch?.[Symbol.dispose]();
        if (error !== null || answer === undefined) reject(failureOf(error, call));
        else resolve(method.responseType.decode(answer));
      },
    );
    if (call.signals.length > 0) watch = onAbort(call.signals, () => surface.cancel());
  });
}

async function again(
  method: Method,
  bytes: Buffer,
  channel: Channel,
  call: Outgoing,
  env: ClientEnvironment,
  first: unknown,
) {
  let error = first;
  for (
    let made = 1;
    made < attempts && error instanceof NephosError && error.kind === 'unavailable';
    made += 1
  ) {
    const pauseMs = Math.max(pauseAfter(made, backoff), error.details.retryAfterMs ?? 0);
    if (systemClock.now().getTime() + pauseMs >= call.deadline || abortReason(call.signals) !== undefined)
      break;
    const waiting = call.signals.length === 0 ? undefined : AbortSignal.any([...call.signals]);
    await env.clock.sleep(pauseMs, waiting).catch(() => {});
    const aborted = abortReason(call.signals);
    if (aborted !== undefined) throw aborted;
    try {
      return await attempt(method, bytes, channel, { ...call, metadata: call.metadata.clone() });
    } catch (next) {
      error = next;
    }
  }
  throw error;
}

function unary(method: Method, channel: Channel, env: ClientEnvironment) {
  return (request: unknown, options: CallOptions = {}): Promise<unknown> => {
    let call: Outgoing;
    let bytes: Buffer;
    try {
      bytes = encode(method.requestType, request);
      call = outgoing(method.path, options, channel, env, defaultDeadlineMs);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    const answer = attempt(method, bytes, channel, call).catch((error: unknown) =>
      error instanceof NephosError && error.kind === 'unavailable'
        ? again(method, bytes, channel, call, env, error)
        : Promise.reject(error as Error),
    );
    if (call.observation === undefined) return answer;
    return answer.then(
      (value) => {
        endObservation(call, undefined);
        return value;
      },
      (error: unknown) => {
        endObservation(call, error);
        throw error;
      },
    );
  };
}

/** Sends what `requests` gives until it ends, the call ends, or it throws, which ends the call with that error. */
async function send(
  requests: AsyncIterable<unknown>,
  surface: ClientWritableStream<Buffer>,
  type: MessageType<unknown>,
  over: Promise<void>,
): Promise<void> {
  const source = requests[Symbol.asyncIterator]();
  const ended = over.then(() => ({ done: true, value: undefined }) as const);
  for (;;) {
    const { done, value } = await Promise.race([source.next(), ended]);
    if (done === true) break;
    if (!surface.write(encode(type, value))) await Promise.race([untilDrained(surface), over]);
  }
  surface.end();
  // Where the call ended first, the source is told; it may be waiting, so this is not awaited.
  source.return?.().catch(() => {});
}

interface Sending {
  /** What `requests` threw, if it did. */
  error: { readonly thrown: unknown } | undefined;
  over(): void;
}

function startSending(
  requests: AsyncIterable<unknown>,
  surface: ClientWritableStream<Buffer>,
  method: Method,
): Sending {
  const { promise, resolve } = Promise.withResolvers<void>();
  const sending: Sending = { error: undefined, over: resolve };
  send(requests, surface, method.requestType, promise).catch((thrown: unknown) => {
    sending.error = { thrown };
    surface.cancel();
  });
  return sending;
}

function clientStream(method: Method, channel: Channel, env: ClientEnvironment) {
  return async (requests: AsyncIterable<unknown>, options: CallOptions = {}): Promise<unknown> => {
    const call = outgoing(method.path, options, channel, env, Infinity);
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const surface = channel.grpc.makeClientStreamRequest(
      method.path,
      bytesAsTheyAre,
      bytesAsTheyAre,
      call.metadata,
      call.deadline === Infinity ? {} : { deadline: call.deadline },
      (error: ServiceError | null, answer?: Buffer) => {
        if (error !== null || answer === undefined) reject(error ?? new Error('no answer'));
        else resolve(answer);
      },
    );
    using _watch = onAbort(call.signals, () => surface.cancel());
    const sending = startSending(requests, surface, method);
    try {
      const answer = method.responseType.decode(await promise);
      endObservation(call, undefined);
      return answer;
    } catch (error) {
      const failure = sending.error === undefined ? failureOf(error, call) : sending.error.thrown;
      endObservation(call, failure);
      throw failure;
    } finally {
      sending.over();
    }
  };
}

type Incoming = ClientReadableStream<Buffer>;

/** Reads a stream of answers; leaving the loop early cancels the call. */
async function* answers(
  surface: Incoming,
  method: Method,
  call: Outgoing,
  sending?: Sending,
): AsyncGenerator<unknown> {
  using _watch = onAbort(call.signals, () => surface.cancel());
  // The status comes as an error event, also after the reader has left.
  surface.on('error', () => {});
  let failure: unknown;
  let ended = false;
  try {
    for await (const bytes of surface.iterator({ destroyOnReturn: false })) {
      yield method.responseType.decode(bytes as Buffer);
    }
    ended = true;
  } catch (error) {
    ended = isServiceError(error);
    failure = sending?.error === undefined ? failureOf(error, call) : sending.error.thrown;
    throw failure;
  } finally {
    if (!ended) surface.cancel();
    sending?.over();
    endObservation(call, failure);
  }
}

function serverStream(method: Method, channel: Channel, env: ClientEnvironment) {
  return async function* (request: unknown, options: CallOptions = {}): AsyncGenerator<unknown> {
    const call = outgoing(method.path, options, channel, env, Infinity);
    const surface = channel.grpc.makeServerStreamRequest(
      method.path,
      bytesAsTheyAre,
      bytesAsTheyAre,
      encode(method.requestType, request),
      call.metadata,
      call.deadline === Infinity ? {} : { deadline: call.deadline },
    );
    yield* answers(surface, method, call);
  };
}

function bidi(method: Method, channel: Channel, env: ClientEnvironment) {
  return async function* (
    requests: AsyncIterable<unknown>,
    options: CallOptions = {},
  ): AsyncGenerator<unknown> {
    const call = outgoing(method.path, options, channel, env, Infinity);
    const surface = channel.grpc.makeBidiStreamRequest(
      method.path,
      bytesAsTheyAre,
      bytesAsTheyAre,
      call.metadata,
      call.deadline === Infinity ? {} : { deadline: call.deadline },
    );
    yield* answers(surface, method, call, startSending(requests, surface, method));
  };
}

function functionFor(
  contract: MethodContract,
  method: Method,
  channel: Channel,
  env: ClientEnvironment,
): unknown {
  if (contract.requestStream) {
    return contract.responseStream ? bidi(method, channel, env) : clientStream(method, channel, env);
  }
  return contract.responseStream ? serverStream(method, channel, env) : unary(method, channel, env);
}

/** A client of the contract on the channel. Streams begin when they are first read. */
export function makeClient<D extends ServiceContract>(
  definition: D,
  channel: Channel,
  env: ClientEnvironment,
): Client<D> {
  const functions = Object.entries(definition.methods).map(([key, contract]) => {
    const { requestType, responseType } = contract;
    const path = `/${definition.fullName}/${contract.name}`;
    return [key, functionFor(contract, { path, requestType, responseType }, channel, env)] as const;
  });
  return Object.freeze(Object.fromEntries(functions)) as Client<D>;
}
