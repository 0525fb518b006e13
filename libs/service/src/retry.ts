/**
 * Trying again, with growing and jittered pauses. For calls see client.ts, which retries `Unavailable` by itself.
 */
import { type Clock, systemClock } from './clock.ts';
import { Unavailable } from './errors.ts';

export interface Backoff {
  /** The pause before the second attempt, milliseconds. */
  readonly firstMs: number;
  /** No pause is longer. */
  readonly maxMs: number;
  /** What each pause is multiplied by for the next; default 2. */
  readonly factor?: number;
}

export interface RetryOptions {
  /** In all, the first included. Infinity: until aborted. */
  readonly attempts: number;
  readonly backoff: Backoff;
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock;
  /** Which errors are tried again; default `Unavailable`. */
  readonly when?: (error: unknown) => boolean;
  /** Told of each failure that will be tried again. */
  readonly onRetry?: (error: unknown, attempt: number, pauseMs: number) => void;
}

/** The pause after the attempt (from 1): grows, capped, and a random half of it is left out so that crowds spread. */
export function pauseAfter(attempt: number, { firstMs, maxMs, factor = 2 }: Backoff): number {
  const full = Math.min(maxMs, firstMs * factor ** (attempt - 1));
  return full * (0.5 + Math.random() / 2);
}

/** Runs `operation` until it succeeds, attempts are used up or the signal aborts (which rejects with its reason). */
export async function retry<T>(
  operation: (attempt: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { attempts, backoff, signal, clock = systemClock } = options;
  const when = options.when ?? ((error: unknown) => error instanceof Unavailable);
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return await operation(attempt);
    } catch (error) {
      if (attempt >= attempts || !when(error)) throw error;
      const pauseMs = pauseAfter(attempt, backoff);
      options.onRetry?.(error, attempt, pauseMs);
      await clock.sleep(pauseMs, signal);
    }
  }
}
