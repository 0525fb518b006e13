/** The background loop that keeps the records of requests tidy: hand it to `ctx.background`. */
import type { Clock } from '@nephos/service';
import type { Idempotency } from './idempotency.ts';

/** Sweeps at once and then every `intervalMs` until aborted. */
export async function sweepRequests(
  idempotency: Idempotency,
  options: { readonly clock: Clock; readonly intervalMs?: number },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await idempotency.sweep(signal);
    await options.clock.sleep(options.intervalMs ?? 10_000, signal).catch(() => undefined);
  }
}
