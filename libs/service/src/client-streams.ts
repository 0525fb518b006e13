/**
 * Streaming calls as async iterables, with back-pressure both ways. A call begins when it is first read; leaving the
 * loop early cancels it. Never tried again: only its caller knows where a stream stood.
 */
import type { ClientReadableStream, ClientWritableStream, ServiceError } from '@grpc/grpc-js';
import type { CallOptions } from './call.ts';
import type { Channel } from './channel.ts';
import {
  type ClientEnvironment,
  countFailure,
  encode,
  endObservation,
  failureOf,
  isServiceError,
  type Method,
  type Outgoing,
  outgoing,
} from './outgoing.ts';
import { onAbort } from './signals.ts';
import { bytesAsTheyAre, Interrupt, untilDrained } from './streams.ts';

/** The sending half of a call. */
interface Sending {
  /** What `requests` threw, if it did: the call ends with that. */
  readonly failure: () => { readonly thrown: unknown } | undefined;
  /** The call has ended: nothing more is asked of `requests`. */
  over(): void;
}

/** Sends what `requests` gives, as fast as the server takes it, until it ends or the call does. */
function startSending(
  requests: AsyncIterable<unknown>,
  surface: ClientWritableStream<Buffer>,
  { requestType }: Method,
): Sending {
  const source = requests[Symbol.asyncIterator]();
  const interrupt = new Interrupt();
  let failure: { readonly thrown: unknown } | undefined;
  const send = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await interrupt.wait(source.next());
      if (done === true) break;
      if (!surface.write(encode(requestType, value))) await interrupt.wait(untilDrained(surface));
    }
    surface.end();
  };
  send().catch((thrown: unknown) => {
    if (interrupt.raised) {
      // The source is told, but not waited for: it may itself be waiting.
      source.return?.().catch(() => {});
    } else {
      failure = { thrown };
      surface.cancel();
    }
  });
  return { failure: () => failure, over: () => interrupt.raise(undefined) };
}

/** The client's function of a method that takes a stream. */
export function clientStream(method: Method, channel: Channel, env: ClientEnvironment) {
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
    channel.began(surface);
    channel.tally.calls += 1;
    using _watch = onAbort(call.signals, () => surface.cancel());
    const sending = startSending(requests, surface, method);
    try {
      const answer = method.responseType.decode(await promise);
      endObservation(call, undefined);
      return answer;
    } catch (error) {
      const failure = sending.failure()?.thrown ?? failureOf(error, call);
      countFailure(call, failure);
      endObservation(call, failure);
      throw failure;
    } finally {
      channel.ended(surface);
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
  call.channel.began(surface);
  call.channel.tally.calls += 1;
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
    failure = sending?.failure()?.thrown ?? failureOf(error, call);
    throw failure;
  } finally {
    if (!ended) surface.cancel();
    call.channel.ended(surface);
    sending?.over();
    countFailure(call, failure);
    endObservation(call, failure);
  }
}

/** The client's function of a method that answers with a stream. */
export function serverStream(method: Method, channel: Channel, env: ClientEnvironment) {
  return async function* (request: unknown, options: CallOptions = {}): AsyncGenerator<unknown> {
    const bytes = encode(method.requestType, request);
    const call = outgoing(method.path, options, channel, env, Infinity);
    const surface = channel.grpc.makeServerStreamRequest(
      method.path,
      bytesAsTheyAre,
      bytesAsTheyAre,
      bytes,
      call.metadata,
      call.deadline === Infinity ? {} : { deadline: call.deadline },
    );
    yield* answers(surface, method, call);
  };
}

/** The client's function of a method that takes a stream and answers with one. */
export function bidi(method: Method, channel: Channel, env: ClientEnvironment) {
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
