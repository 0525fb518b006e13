/**
 * What a handler knows of the call it serves, what a caller may say of the call it makes, and the one shape
 * of interceptors. Types only.
 */
import type { Logger } from 'pino';

/** One call being served, as its handler sees it. */
export interface Call {
  /** `/package.Service/Method`. */
  readonly method: string;
  /** Aborted when the caller cancels, its deadline passes or a draining server ends its streams. */
  readonly signal: AbortSignal;
  /** Minted by the client before its first attempt and the same in all of them (AIP-155). */
  readonly requestId: string;
  /** Who calls: a user, a service or a host; empty where nobody said. */
  readonly principal: string;
  /** For whom the principal calls, if for another. */
  readonly onBehalfOf: string | undefined;
  /** The bearer token that came along (`authorization` metadata), unchecked. Never to be logged. */
  readonly token: string | undefined;
  /** When the caller stops waiting, on the service's clock; undefined for calls without a deadline. */
  readonly deadline: Date | undefined;
  readonly log: Logger;
  /** `address:port` of the caller. */
  readonly peer: string;
  /** Further metadata that the caller sent, by its key in lower case. */
  text(key: string): string | undefined;
  /** From here on neither the caller's cancellation nor its deadline aborts `signal` or what is called from here. */
  detach(): void;
}

/** What a caller may say of one call. What is left out is handed on from the call being served, if any. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the whole call, retries included. Unary: 30 s; streams: none. Never past what is left to the call being served. */
  readonly deadlineMs?: number | undefined;
  /** Idempotency key of a mutating call, UUID. Name it where one handler calls one method twice. */
  readonly requestId?: string | undefined;
  readonly principal?: string | undefined;
  readonly onBehalfOf?: string | undefined;
  /** Further metadata. Keys in lower case; the layer's own keys cannot be overwritten. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** True: wait for a connection until the deadline rather than fail; the default for service names. */
  readonly waitForReady?: boolean | undefined;
  /** Attempts at a unary call that is answered UNAVAILABLE, the first one included. Default 5. */
  readonly attempts?: number | undefined;
}

/** What an interceptor is told of the thing it wraps: an rpc, an event's handler or a job's step. */
export interface Invocation {
  readonly kind: 'rpc' | 'event' | 'step';
  /** `/package.Service/Method`, an event's type, or `job.type/step`. */
  readonly name: string;
  readonly requestId: string;
  readonly principal: string;
  /** The message that came in, where there is exactly one. */
  readonly input: unknown;
}

/** The one interceptor shape: runs around the rest, and may refuse by throwing. */
export type Around = <R>(invocation: Invocation, next: () => Promise<R>) => Promise<R>;
