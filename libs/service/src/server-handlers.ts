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
import type { Clock } from './clock.ts';
import { runCall } from './context.ts';
import type { MessageType } from './contract.ts';
import { type Internal, Invalid, type NephosError } from './errors.ts';
import { readTrace } from './metadata.ts';
import { ServerCall, type Surface } from './server-call.ts';
import { asNephosError, codeOf, toStatus } from './status.ts';
import { toBuffer, untilDrained } from './streams.ts';
import type { Observation, RpcTelemetry } from './telemetry.ts';

/** What every handler of a server shares. */
export interface HandlerEnvironment {
  readonly log: Logger;
  readonly clock: Clock;
  readonly telemetry: RpcTelemetry;
  readonly around: readonly Around[];
  /** Calls that a drain breaks off: streams only, unary calls are let finish. */
  readonly open: Set<ServerCall>;
}

/** One method bound to its handler. */
export interface BoundMethod {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly requestType: MessageType<unknown>;
  readonly responseType: MessageType<unknown>;
  readonly handler: (input: unknown, call: Call) => unknown;
}

/** How long a handler that was told to end may take before its stream is ended for it, milliseconds. */
const lastWordsMs = 500;

interface Begun {
  readonly call: ServerCall;
  readonly trace: Context;
  readonly observation: Observation | undefined;
}

function begin(surface: Surface, method: BoundMethod, env: HandlerEnvironment): Begun {
  const call = new ServerCall(surface, method.path, env.log, env.clock);
  const parent = readTrace(surface.metadata);
  const observation = env.telemetry.observe('server', method.path, parent);
  return { call, trace: observation?.trace ?? parent, observation };
}

/** Ends the books of a call; gives the status to send for an error. */
function settle(begun: Begun, env: HandlerEnvironment, thrown?: unknown) {
  const { call, observation } = begun;
  call.finish();
  env.open.delete(call);
  if (thrown === undefined) {
    observation?.end(status.OK);
    if (env.log.isLevelEnabled('debug')) logCall(begun, env, undefined);
    return undefined;
  }
  const error = asNephosError(thrown);
  observation?.end(codeOf(error), error);
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
  return toBuffer(type.encode(type.fromPartial(value as object)).finish());
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
    const begun = begin(surface, method, env);
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
  const fail = (error: unknown): void =>
    callback(settle(begun, env, error ?? new Error('thrown: nothing')) ?? null);
  try {
    invoke(method, env, input(), begun.call).then((value) => {
      let bytes: Buffer;
      try {
        bytes = encode(method.responseType, value);
      } catch (error) {
        return fail(error);
      }
      settle(begun, env);
      callback(null, bytes);
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
  try {
    // A handler that stops reading must not tear the answer down with it.
    for await (const bytes of surface.iterator({ destroyOnReturn: false }))
      yield decode(type, bytes as Buffer);
  } catch (error) {
    throw call.aborted ?? error;
  }
}

export function clientStreamHandler(
  method: BoundMethod,
  env: HandlerEnvironment,
): handleClientStreamingCall<Buffer, Buffer> {
  return (surface, callback) => {
    const begun = begin(surface, method, env);
    env.open.add(begun.call);
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
  const begun = begin(surface, method, env);
  const { call, trace } = begun;
  env.open.add(call);
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
  const broken = brokenOff(call, env.clock);
  try {
    for (;;) {
      const { done, value } = await Promise.race([answers.next(), broken.promise]);
      if (done === true) return;
      if (!surface.write(encode(method.responseType, value))) {
        await Promise.race([untilDrained(surface), broken.promise]);
      }
    }
  } catch (error) {
    // Not awaited: a generator that waits for something returns once it has it.
    answers.return?.().catch(ignore);
    throw error;
  } finally {
    broken[Symbol.dispose]();
  }
}

/** Rejects once the call was broken off and its handler had its last words. */
function brokenOff(call: ServerCall, clock: Clock): { readonly promise: Promise<never> } & Disposable {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(ignore);
  const { signal } = call;
  let timer: Disposable | undefined;
  const onAbort = (): void => {
    timer = clock.timer(lastWordsMs, () => reject(signal.reason as Error));
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return {
    promise,
    [Symbol.dispose]() {
      timer?.[Symbol.dispose]();
      signal.removeEventListener('abort', onAbort);
    },
  };
}

function ignore(): void {}
