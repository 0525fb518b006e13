/**
 * Spans and figures of calls, wired in one place. Until an exporter is asked for (OTEL_EXPORTER_OTLP_ENDPOINT,
 * NEPHOS_METRICS_BIND) there is no SDK in the process and a call pays one comparison. The SDK is loaded only
 * then, so that others start fast. Names follow OpenTelemetry's conventions for RPC.
 */
import {
  type Attributes,
  type Context,
  type Histogram,
  type Meter,
  type MeterProvider,
  metrics,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  type TracerProvider,
  trace,
} from '@opentelemetry/api';
import { hostAndPort } from './address.ts';
import type { Clock } from './clock.ts';
import { shareContextWithTelemetry } from './context.ts';
import type { NephosError } from './errors.ts';

/** One call under observation. */
export interface Observation {
  /** The context in which the call's span is active. */
  readonly trace: Context;
  end(code: number, error?: NephosError): void;
}

/** What the rpc layer needs of telemetry. */
export interface RpcTelemetry {
  /** Begins the span and the timing of a call; undefined where nobody looks. */
  observe(side: 'server' | 'client', method: string, parent: Context): Observation | undefined;
}

export interface Telemetry extends RpcTelemetry {
  readonly tracer: Tracer;
  readonly meter: Meter;
}

export interface TelemetryOptions {
  readonly service: string;
  readonly version: string;
  readonly instanceId: string;
  readonly clock: Clock;
  readonly otlpEndpoint?: string | undefined;
  /** `host:port`; empty: no metrics are served. */
  readonly metricsBind?: string | undefined;
  /** Given by a test in place of the SDK that this file would load. */
  readonly tracerProvider?: TracerProvider | undefined;
  readonly meterProvider?: MeterProvider | undefined;
}

const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

class ServiceTelemetry implements Telemetry {
  readonly tracer: Tracer;
  readonly meter: Meter;
  readonly #clock: Clock;
  readonly #tracing: boolean;
  readonly #durations: { readonly server: Histogram; readonly client: Histogram } | undefined;

  constructor(
    options: TelemetryOptions,
    tracers: TracerProvider | undefined,
    meters: MeterProvider | undefined,
  ) {
    this.#clock = options.clock;
    this.#tracing = tracers !== undefined;
    this.tracer = (tracers ?? trace.getTracerProvider()).getTracer(options.service, options.version);
    this.meter = (meters ?? metrics.getMeterProvider()).getMeter(options.service, options.version);
    const advice = { unit: 's', advice: { explicitBucketBoundaries: secondsBuckets } };
    // A histogram counts too: its `_count` by method and status is the counter of requests.
    this.#durations =
      meters === undefined
        ? undefined
        : {
            server: this.meter.createHistogram('rpc.server.call.duration', advice),
            client: this.meter.createHistogram('rpc.client.call.duration', advice),
          };
  }

  observe(side: 'server' | 'client', method: string, parent: Context): Observation | undefined {
    if (!this.#tracing && this.#durations === undefined) return undefined;
    const slash = method.indexOf('/', 1);
    const attributes: Attributes = {
      'rpc.system.name': 'grpc',
      'rpc.service': method.slice(1, slash),
      'rpc.method': method.slice(slash + 1),
    };
    const kind = side === 'server' ? SpanKind.SERVER : SpanKind.CLIENT;
    const span = this.#tracing
      ? this.tracer.startSpan(method.slice(1), { kind, attributes }, parent)
      : undefined;
    const began = this.#clock.monotonic();
    return {
      trace: span === undefined ? parent : trace.setSpan(parent, span),
      end: (code, error) => {
        const seconds = (this.#clock.monotonic() - began) / 1000;
        this.#durations?.[side].record(seconds, { ...attributes, 'rpc.response.status_code': code });
        if (span !== undefined) endSpan(span, code, error);
      },
    };
  }
}

function endSpan(span: Span, code: number, error: NephosError | undefined): void {
  span.setAttribute('rpc.response.status_code', code);
  if (error !== undefined) {
    span.setAttribute('error.type', error.reason);
    span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
  }
  span.end();
}

/** Starts what the configuration asks for; exporters are pushed on `resources`, which flushes them at the end. */
export async function startTelemetry(
  options: TelemetryOptions,
  resources: AsyncDisposableStack,
): Promise<Telemetry> {
  shareContextWithTelemetry();
  const tracers = options.tracerProvider ?? (await startTracing(options, resources));
  const meters = options.meterProvider ?? (await startMetrics(options, resources));
  return new ServiceTelemetry(options, tracers, meters);
}

async function resourceOf({ service, version, instanceId }: TelemetryOptions) {
  const { resourceFromAttributes } = await import('@opentelemetry/resources');
  return resourceFromAttributes({
    'service.namespace': 'nephos',
    'service.name': service,
    'service.version': version,
    'service.instance.id': instanceId,
  });
}

async function startTracing(
  options: TelemetryOptions,
  resources: AsyncDisposableStack,
): Promise<TracerProvider | undefined> {
  if (options.otlpEndpoint === undefined) return undefined;
  const [{ TracerProvider: SdkTracerProvider, BatchSpanProcessor }, { OTLPTraceExporter }] =
    await Promise.all([
      import('@opentelemetry/sdk-trace'),
      import('@opentelemetry/exporter-trace-otlp-http'),
    ]);
  const exporter = new OTLPTraceExporter({ url: new URL('v1/traces', withSlash(options.otlpEndpoint)).href });
  const provider = new SdkTracerProvider({
    resource: await resourceOf(options),
    spanProcessors: [new BatchSpanProcessor({ exporter })],
  });
  resources.defer(() => provider.shutdown());
  return provider;
}

function withSlash(url: string): string {
  return url.endsWith('/') ? url : `${url}/`;
}

/** Services that share a process share the figures' address: one provider a `host:port`, counted. */
const served = new Map<string, { users: number; readonly provider: Promise<MeterProvider & Stoppable> }>();

interface Stoppable {
  shutdown(): Promise<void>;
}

async function startMetrics(
  options: TelemetryOptions,
  resources: AsyncDisposableStack,
): Promise<MeterProvider | undefined> {
  const bind = options.metricsBind ?? '';
  if (bind === '') return undefined;
  const entry = served.get(bind) ?? { users: 0, provider: serveMetrics(options, bind) };
  served.set(bind, entry);
  entry.users += 1;
  resources.defer(async () => {
    entry.users -= 1;
    if (entry.users > 0) return;
    served.delete(bind);
    await (await entry.provider).shutdown();
  });
  return entry.provider;
}

async function serveMetrics(options: TelemetryOptions, bind: string): Promise<MeterProvider & Stoppable> {
  const [{ MeterProvider: SdkMeterProvider }, { PrometheusExporter }] = await Promise.all([
    import('@opentelemetry/sdk-metrics'),
    import('@opentelemetry/exporter-prometheus'),
  ]);
  const exporter = new PrometheusExporter({ ...hostAndPort(bind), preventServerStart: true });
  await exporter.startServer();
  return new SdkMeterProvider({ resource: await resourceOf(options), readers: [exporter] });
}
