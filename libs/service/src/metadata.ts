/**
 * The metadata keys of a call, and the W3C trace headers (https://www.w3.org/TR/trace-context/) to and from
 * OpenTelemetry's context. They pass on even where no SDK records spans.
 */
import { Metadata } from '@grpc/grpc-js';
import {
  type Context,
  createTraceState,
  isSpanContextValid,
  ROOT_CONTEXT,
  type SpanContext,
  trace,
} from '@opentelemetry/api';

export const metadataKeys = {
  requestId: 'nephos-request-id',
  principal: 'nephos-principal',
  onBehalfOf: 'nephos-on-behalf-of',
  traceparent: 'traceparent',
  tracestate: 'tracestate',
} as const;

const layerKeys: ReadonlySet<string> = new Set(Object.values(metadataKeys));

/** Longer texts are cut: they go into logs and records. */
const longest = 256;

/** The first value of a text key; undefined where there is none. */
export function readText(metadata: Metadata, key: string): string | undefined {
  const value = metadata.get(key)[0];
  if (typeof value !== 'string' || value === '') return undefined;
  return value.length > longest ? value.slice(0, longest) : value;
}

const bearerForm = /^bearer +([A-Za-z0-9._~+/=-]+)$/i;

/** The token of `authorization: Bearer <token>` (RFC 6750); undefined where there is none, or more than one. */
export function readBearer(metadata: Metadata): string | undefined {
  const values = metadata.get('authorization');
  const [value] = values;
  return values.length === 1 && typeof value === 'string' ? bearerForm.exec(value)?.[1] : undefined;
}

const traceparentForm = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/;

/** The context of a traceparent; the root context where it is missing or malformed. */
export function traceOf(traceparent: string | undefined, tracestate?: string): Context {
  const match = traceparent === undefined ? null : traceparentForm.exec(traceparent);
  if (match?.[1] === undefined || match[2] === undefined || match[3] === undefined) return ROOT_CONTEXT;
  const span = {
    traceId: match[1],
    spanId: match[2],
    traceFlags: Number.parseInt(match[3], 16),
    isRemote: true,
    ...(tracestate === undefined ? {} : { traceState: createTraceState(tracestate) }),
  };
  return isSpanContextValid(span) ? trace.setSpanContext(ROOT_CONTEXT, span) : ROOT_CONTEXT;
}

/** The span active in the context, unless it is one that nobody records and that continues no trace: all zeros. */
export function activeSpan(context: Context): SpanContext | undefined {
  const span = trace.getSpanContext(context);
  return span !== undefined && isSpanContextValid(span) ? span : undefined;
}

/** `00-<trace>-<span>-<flags>` of the span active in the context; undefined outside of any. */
export function traceparentOf(context: Context): string | undefined {
  const span = activeSpan(context);
  if (span === undefined) return undefined;
  return `00-${span.traceId}-${span.spanId}-${span.traceFlags.toString(16).padStart(2, '0')}`;
}

/** The trace context that came with a call. */
export function readTrace(metadata: Metadata): Context {
  const traceparent = metadata.get(metadataKeys.traceparent)[0];
  if (typeof traceparent !== 'string') return ROOT_CONTEXT;
  return traceOf(traceparent, readText(metadata, metadataKeys.tracestate));
}

/** Sets the trace headers of the context, if it has a span. */
export function writeTrace(metadata: Metadata, context: Context): void {
  const traceparent = traceparentOf(context);
  if (traceparent === undefined) return;
  metadata.set(metadataKeys.traceparent, traceparent);
  const state = trace.getSpanContext(context)?.traceState?.serialize();
  if (state !== undefined && state !== '') metadata.set(metadataKeys.tracestate, state);
}

export interface OutgoingMetadata {
  readonly requestId: string;
  readonly principal: string;
  readonly onBehalfOf: string | undefined;
  readonly waitForReady: boolean;
  readonly extra: Readonly<Record<string, string>> | undefined;
}

export function writeMetadata(outgoing: OutgoingMetadata): Metadata {
  const metadata = outgoing.waitForReady ? new Metadata({ waitForReady: true }) : new Metadata();
  metadata.set(metadataKeys.requestId, outgoing.requestId);
  metadata.set(metadataKeys.principal, outgoing.principal);
  if (outgoing.onBehalfOf !== undefined) metadata.set(metadataKeys.onBehalfOf, outgoing.onBehalfOf);
  if (outgoing.extra !== undefined) {
    for (const [key, value] of Object.entries(outgoing.extra)) {
      if (!layerKeys.has(key)) metadata.set(key, value);
    }
  }
  return metadata;
}
