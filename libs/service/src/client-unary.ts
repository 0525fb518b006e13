/**
 * Unary calls: one deadline and one request id for all attempts. Only UNAVAILABLE is tried again, after growing and
 * jittered pauses, never past the deadline. The hot path: no generator, no spread, one promise an attempt.
 */
import type { ServiceError } from '@grpc/grpc-js';
import type { CallOptions } from './call.ts';
import type { Channel } from './channel.ts';
import { systemClock } from './clock.ts';
import { Internal, NephosError } from './errors.ts';
import {
  abortReason,
  type ClientEnvironment,
  countFailure,
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
const defaultAttempts = 5;
const backoff: Backoff = { firstMs: 50, maxMs: 2000 };

/** One attempt of a unary call. */
function attempt(method: Method, bytes: Buffer, call: Outgoing): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const { channel, signals } = call;
    let watch: Disposable | undefined;
    const surface = withoutStack(() =>
      channel.grpc.makeUnaryRequest(
        method.path,
        bytesAsTheyAre,
        bytesAsTheyAre,
        bytes,
        call.metadata,
        call.deadline === Infinity ? {} : { deadline: call.deadline },
        (error: ServiceError | null, answer?: Buffer) => {
          channel.ended(surface);
          watch?.[Symbol.dispose]();
          if (error !== null || answer === undefined) reject(failureOf(error, call));
          else decodeAnswer(method, answer, channel, resolve, reject);
        },
      ),
    );
    channel.began(surface);
    if (signals.length > 0) watch = onAbort(signals, () => surface.cancel());
  });
}

function decodeAnswer(
  { responseType }: Method,
  answer: Buffer,
  { tally }: Channel,
  resolve: (value: unknown) => void,
  reject: (error: unknown) => void,
): void {
  try {
    const value = responseType.decode(answer);
    tally.calls += 1;
    resolve(value);
  } catch (cause) {
    reject(new Internal('INTERNAL', `the answer does not decode as ${responseType.$type}`, { cause }));
  }
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

/** How a call is tried again. */
interface Again {
  readonly env: ClientEnvironment;
  /** At most, the first one included. */
  readonly attempts: number;
}

/** Whether another attempt makes sense after `error`; then the pause before it, milliseconds. */
function pauseBefore(
  error: unknown,
  made: number,
  { deadline, signals, channel, attempts }: Outgoing & Again,
): number | undefined {
  if (!(error instanceof NephosError) || error.kind !== 'unavailable' || made >= attempts) return undefined;
  if (abortReason(signals) !== undefined || channel.closed !== undefined) return undefined;
  const pauseMs = Math.max(pauseAfter(made, backoff), error.details.retryAfterMs ?? 0);
  return systemClock.now().getTime() + pauseMs < deadline ? pauseMs : undefined;
}

/** The attempts after the first, which failed with `error`. */
async function again(method: Method, bytes: Buffer, call: Outgoing & Again, error: unknown) {
  let last = error;
  for (let made = 1; ; made += 1) {
    const pauseMs = pauseBefore(last, made, call);
    if (pauseMs === undefined) throw last;
    const signal = call.signals.length === 0 ? undefined : AbortSignal.any([...call.signals]);
    await call.env.clock.sleep(pauseMs, signal).catch(() => {});
    const ended = abortReason(call.signals) ?? call.channel.closed;
    if (ended !== undefined) throw ended;
    try {
      return await attempt(method, bytes, { ...call, metadata: call.metadata.clone() });
    } catch (next) {
      last = next;
    }
  }
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
    const answer = attempt(method, bytes, call).catch((error: unknown) =>
      again(method, bytes, { ...call, env, attempts: options.attempts ?? defaultAttempts }, error).catch(
        (last: unknown) => {
          call.channel.tally.calls += 1;
          countFailure(call, last);
          throw last;
        },
      ),
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
