/**
 * Unary calls: one deadline and one request id for all attempts. Only UNAVAILABLE is tried again, after growing and
 * jittered pauses, never past the deadline. The hot path: no generator, no spread, one promise an attempt.
 */
import type { ServiceError } from '@grpc/grpc-js';
import type { CallOptions } from './call.ts';
import { systemClock } from './clock.ts';
import { Internal, NephosError } from './errors.ts';
import {
  abortReason,
  type Channel,
  type ClientEnvironment,
  encode,
  endObservation,
  failureOf,
  type Method,
  type Outgoing,
  outgoing,
} from './outgoing.ts';
import { type Backoff, pauseAfter } from './retry.ts';
import { onAbort } from './signals.ts';
import { bytesAsTheyAre } from './streams.ts';

/** Unary calls end after this unless their caller says otherwise. */
export const defaultDeadlineMs = 30_000;
const attempts = 5;
const backoff: Backoff = { firstMs: 50, maxMs: 2000 };

/** One attempt of a unary call. */
function attempt(method: Method, bytes: Buffer, { grpc }: Channel, call: Outgoing): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let watch: Disposable | undefined;
    const surface = withoutStack(() =>
      grpc.makeUnaryRequest(
        method.path,
        bytesAsTheyAre,
        bytesAsTheyAre,
        bytes,
        call.metadata,
        call.deadline === Infinity ? {} : { deadline: call.deadline },
        (error: ServiceError | null, answer?: Buffer) => {
          watch?.[Symbol.dispose]();
          if (error !== null || answer === undefined) return reject(failureOf(error, call));
          try {
            resolve(method.responseType.decode(answer));
          } catch (cause) {
            reject(
              new Internal('INTERNAL', `the answer does not decode as ${method.responseType.$type}`, {
                cause,
              }),
            );
          }
        },
      ),
    );
    if (call.signals.length > 0) watch = onAbort(call.signals, () => surface.cancel());
  });
}

/** grpc-js captures a stack for each call in case it fails. Ours is made of the status; a tenth of a call is saved. */
function withoutStack<T>(begin: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return begin();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
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

/** The client's function of a unary method. */
export function unary(method: Method, channel: Channel, env: ClientEnvironment) {
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
