/** One call of a subscriber's handler: as a span of the trace that the change belongs to, within its deadline. */
import { type Clock, Unavailable } from '@nephos/service';
import { context as otel, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import type { EntityEvent } from './cloudevent.ts';

/**
 * Resolves with the handler, or throws `Unavailable` when it took longer than `timeoutMs` (undefined: no limit). A
 * handler that goes on although its signal aborted is let be: nobody waits for it any more.
 */
export function callHandler(
  clock: Clock,
  event: EntityEvent,
  timeoutMs: number | undefined,
  stopping: AbortSignal,
  handle: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  return timeoutMs === undefined
    ? inTraceOf(event, () => handle(stopping))
    : within(clock, timeoutMs, stopping, (signal) => inTraceOf(event, () => handle(signal)));
}

async function within(
  clock: Clock,
  timeoutMs: number,
  stopping: AbortSignal,
  handle: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const late = new AbortController();
  const signal = AbortSignal.any([late.signal, stopping]);
  const isLate = Promise.withResolvers<never>();
  using _ = clock.timer(timeoutMs, () => {
    const error = new Unavailable('SERVICE_UNAVAILABLE', `the handler took longer than ${timeoutMs} ms`);
    late.abort(error);
    isLate.reject(error);
  });
  await Promise.race([handle(signal), isLate.promise]);
}

function inTraceOf(event: EntityEvent, run: () => Promise<void>): Promise<void> {
  if (event.traceparent === undefined) return run();
  const [, traceId, spanId, flags] = event.traceparent.split('-');
  if (!traceId || !spanId) return run();
  const parent = { traceId, spanId, traceFlags: Number.parseInt(flags ?? '0', 16), isRemote: true };
  const from = trace.setSpanContext(ROOT_CONTEXT, parent);
  const span = trace.getTracer('@nephos/events').startSpan(`${event.entity} ${event.verb}`, {}, from);
  return otel.with(trace.setSpan(from, span), async () => await run()).finally(() => span.end());
}
