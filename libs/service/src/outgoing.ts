/**
 * What a call takes along, whatever its kind: what is left of the deadline, the principal, the request id and the
 * trace of the call being served, and the signals that cancel it. And what a call that failed becomes.
 */
import type { Metadata, ServiceError } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import type { CallOptions } from './call.ts';
import { isFailure } from './call-counts.ts';
import type { Channel } from './channel.ts';
import { type Clock, systemClock } from './clock.ts';
import { currentCallOrigin, currentOrigin, currentTrace } from './context.ts';
import type { MessageType } from './contract.ts';
import { Cancelled, DeadlineExceeded, NephosError } from './errors.ts';
import { writeMetadata, writeTrace } from './metadata.ts';
import { codeOf, fromStatus } from './status.ts';
import { toBuffer } from './streams.ts';
import type { Observation, RpcTelemetry } from './telemetry.ts';
import { newUid } from './uid.ts';

/** What all clients of a service share. */
export interface ClientEnvironment {
  readonly clock: Clock;
  readonly telemetry: RpcTelemetry;
  /** Who calls where no call is being served, e.g. `services/orchestrator`. */
  readonly principal: string;
}

/** One method of a contract, on the wire. */
export interface Method {
  readonly path: string;
  readonly requestType: MessageType<unknown>;
  readonly responseType: MessageType<unknown>;
}

/** One call as it goes out, worked out once for all its attempts. */
export interface Outgoing {
  readonly channel: Channel;
  readonly metadata: Metadata;
  /** By the clock that grpc-js itself reads, milliseconds; Infinity: none. */
  readonly deadline: number;
  /** What cancels it: the caller's own signal and that of the call being served. */
  readonly signals: readonly AbortSignal[];
  readonly observation: Observation | undefined;
}

/** `limitMs` bounds a call whose caller names no deadline. Throws DeadlineExceeded where no time is left. */
export function outgoing(
  path: string,
  options: CallOptions,
  channel: Channel,
  env: ClientEnvironment,
  limitMs: number,
): Outgoing {
  if (channel.closed !== undefined) throw channel.closed;
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
  return { channel, metadata, deadline, signals, observation };
}

/** Why one of the signals ended the call, if it did. */
export function abortReason(signals: readonly AbortSignal[]): NephosError | undefined {
  for (const { aborted, reason } of signals) {
    if (!aborted) continue;
    return reason instanceof NephosError
      ? reason
      : new Cancelled('CALL_CANCELLED', 'the call was cancelled', { cause: reason });
  }
  return undefined;
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error;
}

/** Our error for what a call failed with: why it was cancelled counts for more than that it was. */
export function failureOf(error: unknown, { signals, channel }: Outgoing): unknown {
  if (!isServiceError(error)) return error;
  if (error.code !== status.CANCELLED) return fromStatus(error);
  return abortReason(signals) ?? channel.closed ?? fromStatus(error);
}

export function encode(type: MessageType<unknown>, value: unknown): Buffer {
  return toBuffer(type.encode(type.fromPartial(value as object)).finish());
}

/** Counts what a call failed with where the callee, or the way to it, is at fault. */
export function countFailure({ channel: { tally } }: Outgoing, error: unknown): void {
  if (error instanceof NephosError && isFailure(error)) tally.failures += 1;
}

export function endObservation({ observation }: Outgoing, error: unknown): void {
  if (observation === undefined) return;
  if (error === undefined) observation.end(status.OK);
  else if (error instanceof NephosError) observation.end(codeOf(error), error);
  else observation.end(status.INTERNAL);
}
