/**
 * From grpc-js's callbacks to our handlers: `(request, call) => Promise | AsyncIterable`. Decoding and encoding
 * happen here, so that what goes wrong there is a rich error too. Unary is the hot path: one context run, no
 * generators. An open stream ends when its caller cancels or the server drains, whatever its handler does.
 */
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  ServerDuplexStream,
  ServerReadableStream,
  ServerWritableStream,
  sendUnaryData,
} from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import type { Context } from '@opentelemetry/api';
import type { Logger } from 'pino';
import type { Around, Call } from './call.ts';
import { isFailure, type Mutable, type ServedCount } from './call-counts.ts';
import type { Clock } from './clock.ts';
import { runCall } from './context.ts';
import type { MessageType } from './contract.ts';
import { type Internal, Invalid, type NephosError } from './errors.ts';
import { readTrace } from './metadata.ts';
import { encodingOf } from './sent-to-many.ts';
import { ServerCall, type Surface } from './server-call.ts';
import { onAbort } from './signals.ts';
import { asNephosError, codeOf, toStatus } from './status.ts';
import { Interrupt, toBuffer, untilDrained } from './streams.ts';
import type { Observation, RpcTelemetry } from './telemetry.ts';

/** What every handler of a server shares. */
export interface HandlerEnvironment {
  readonly log: Logger;
  readonly clock: Clock;
  readonly telemetry: RpcTelemetry;
  readonly around: readonly Around[];
  /** Calls being served. */
  readonly open: Set<ServerCall>;
}

/** One method bound to its handler. */
export interface BoundMethod {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly requestType: MessageType<unknown>;
  readonly responseType: MessageType<unknown>;
  readonly handler: (input: unknown, call: Call) => unknown;
  /** Of its contract; counts on. */
  readonly served: Mutable<ServedCount>;
}

/** How long a handler that was told to end may take before its stream is ended for it, milliseconds. */
export const lastWordsMs = 500;

interface Begun {
  readonly call: ServerCall;
  readonly served: Mutable<ServedCount>;
  /** On the monotonic clock. */
  readonly at: number;
  readonly trace: Context;
  readonly observation: Observation | undefined;
}

function begin(surface: Surface, method: BoundMethod, env: HandlerEnvironment, streaming: boolean): Begun {
  const call = new ServerCall(surface, method.path, streaming, env.log, env.clock);
  env.open.add(call);
  const parent = readTrace(surface.metadata);
  const observation = env.telemetry.observe('server', method.path, parent);
  const { served } = method;
  return { call, served, at: env.clock.monotonic(), trace: observation?.trace ?? parent, observation };
}

/** Ends the books of a call; gives the status to send for an error. */
function settle(begun: Begun, env: HandlerEnvironment, thrown?: unknown) {
  const { call, observation, served } = begun;
  call.finish();
  env.open.delete(call);
  served.calls += 1;
  served.busyMs += env.clock.monotonic() - begun.at;
  if (thrown === undefined) {
    observation?.end(status.OK);
    if (env.log.isLevelEnabled('debug')) logCall(begun, env, undefined);
    return undefined;
  }
  const error = asNephosError(thrown);
  observation?.end(codeOf(error), error);
  if (isFailure(error)) served.failures += 1;
  if (error.kind === 'internal' || env.log.isLevelEnabled('debug')) logCall(begun, env, error);
  const sent = toStatus(error, call.requestId);
  return { ...sent, name: error.name, message: sent.details };
}

function logCall(
  { call, trace }: Begun,
  env: HandlerEnvironment,
  error: NephosError | Internal | undefined,
): void {
  runCall(call, trace, () => {
    const facts = { method: call.method, principal: call.principal, peer: call.peer };
    if (error === undefined) env.log.debug(facts, 'call served');
    else if (error.kind === 'internal') env.log.error({ ...facts, err: error }, 'call failed');
    else env.log.debug({ ...facts, reason: error.reason, error: error.message }, 'call refused');
  });
}

function decode(type: MessageType<unknown>, bytes: Buffer): unknown {
  try {
    return type.decode(bytes);
  } catch (cause) {
    throw new Invalid('FIELD_INVALID', `the message does not decode as ${type.$type}`, { cause });
  }
}

function encode(type: MessageType<unknown>, value: unknown): Buffer {
  const known = encodingOf(value);
  if (known?.bytes !== undefined) return known.bytes;
  const bytes = toBuffer(type.encode(type.fromPartial(value as object)).finish());
  if (known !== undefined) known.bytes = bytes;
  return bytes;
}

/** The handler within its interceptors; the first in the list is the outermost. */
function invoke(
  method: BoundMethod,
  env: HandlerEnvironment,
  input: unknown,
  call: ServerCall,
): Promise<unknown> {
  let next = (): Promise<unknown> => Promise.resolve(method.handler(input, call));
  if (env.around.length === 0) return next();
  const { requestId, principal } = call;
  const invocation = { kind: 'rpc', name: method.path, requestId, principal, input } as const;
  for (const around of env.around.toReversed()) {
    const inner = next;
    next = () => around(invocation, inner);
  }
  return next();
}

export function unaryHandler(method: BoundMethod, env: HandlerEnvironment): handleUnaryCall<Buffer, Buffer> {
  return (surface, callback) => {
    const begun = begin(surface, method, env, false);
    runCall(begun.call, begun.trace, () => {
      answer(begun, method, env, callback, () => decode(method.requestType, surface.request));
    });
  };
}

/** Runs a handler that answers once, and sends what it gives or throws. */
function answer(
  begun: Begun,
  method: BoundMethod,
  env: HandlerEnvironment,
  callback: sendUnaryData<Buffer>,
  input: () => unknown,
): void {
  const { call } = begun;
  const fail = (error: unknown): void => {
    if (!call.finished) callback(settle(begun, env, error ?? new Error('thrown: nothing')) ?? null);
  };
  call.onCut(fail);
  try {
    invoke(method, env, input(), call).then((value) => {
      if (call.finished) return;
      try {
        const bytes = encode(method.responseType, value);
        settle(begun, env);
        callback(null, bytes);
      } catch (error) {
        fail(error);
      }
    }, fail);
  } catch (error) {
    fail(error);
  }
}

async function* incoming(
  surface: ServerReadableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>,
  type: MessageType<unknown>,
  call: ServerCall,
): AsyncGenerator<unknown> {
  // A handler that stops reading must not tear the answer down with it.
  const source = surface.iterator({ destroyOnReturn: false });
  const interrupt = new Interrupt();
  using _watch = onAbort([call.signal], () => interrupt.raise(call.signal.reason));
  try {
    for (;;) {
      const { done, value } = await interrupt.wait(source.next());
      if (done === true) break;
      yield decode(type, value as Buffer);
    }
    // A reset of the caller's also ends the stream, and only then says so: a cut stream is no whole one.
    await new Promise((resolve) => setImmediate(resolve));
    if (call.aborted !== undefined) throw call.aborted;
  } catch (error) {
    throw call.aborted ?? error;
  }
}

export function clientStreamHandler(
  method: BoundMethod,
  env: HandlerEnvironment,
): handleClientStreamingCall<Buffer, Buffer> {
  return (surface, callback) => {
    const begun = begin(surface, method, env, true);
    surface.on('error', ignore);
    runCall(begun.call, begun.trace, () => {
      answer(begun, method, env, callback, () => incoming(surface, method.requestType, begun.call));
    });
  };
}

export function serverStreamHandler(
  method: BoundMethod,
  env: HandlerEnvironment,
): handleServerStreamingCall<Buffer, Buffer> {
  return (surface) => pump(surface, method, env, () => decode(method.requestType, surface.request));
}

export function bidiHandler(
  method: BoundMethod,
  env: HandlerEnvironment,
): handleBidiStreamingCall<Buffer, Buffer> {
  return (surface) => pump(surface, method, env, (call) => incoming(surface, method.requestType, call));
}

/** Runs a handler that answers with a stream, and writes what it yields as fast as the caller takes it. */
function pump(
  surface: ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>,
  method: BoundMethod,
  env: HandlerEnvironment,
  input: (call: ServerCall) => unknown,
): void {
  const begun = begin(surface, method, env, true);
  const { call, trace } = begun;
  void runCall(call, trace, async () => {
    try {
      // The interceptors run around the whole stream.
      const stream = { ...method, handler: (from: unknown) => writeAll(surface, method, env, from, call) };
      await invoke(stream, env, input(call), call);
      if (call.aborted !== undefined) throw call.aborted;
      settle(begun, env);
      surface.end();
    } catch (error) {
      const failed = settle(begun, env, error ?? new Error('thrown: nothing'));
      // grpc-js takes the status of a stream from its error event.
      surface.emit('error', failed);
    }
  });
}

async function writeAll(
  surface: ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>,
  method: BoundMethod,
  env: HandlerEnvironment,
  input: unknown,
  call: ServerCall,
): Promise<void> {
  const answers = (method.handler(input, call) as AsyncIterable<unknown>)[Symbol.asyncIterator]();
  const interrupt = new Interrupt();
  using timers = new DisposableStack();
  timers.use(
    onAbort([call.signal], () => {
      timers.use(env.clock.timer(lastWordsMs, () => interrupt.raise(call.signal.reason)));
    }),
  );
  try {
    for (;;) {
      const { done, value } = await interrupt.wait(answers.next());
      if (done === true) return;
      if (!surface.write(encode(method.responseType, value))) await interrupt.wait(untilDrained(surface));
    }
  } catch (error) {
    // Not awaited: a generator that waits for something returns once it has it.
    answers.return?.().catch(ignore);
    throw error;
  }
}

function ignore(): void {}
