/**
 * What a service is, and what it is handed when it starts. `service.ts` of each service is one `defineService`
 * that reads as a list of its parts; start.ts runs it.
 */
import type { Meter, MeterProvider, Tracer, TracerProvider } from '@opentelemetry/api';
import type { Logger } from 'pino';
import type { Address } from './address.ts';
import type { CalleeCount } from './call-counts.ts';
import type { Clients } from './clients.ts';
import type { Clock } from './clock.ts';
import type { ConfigOf } from './common-config.ts';
import type { ConfigSchema, Environment } from './config.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { LineSink } from './log.ts';
import type { RpcServer } from './server.ts';

export interface ServiceDefinition<S extends ConfigSchema> {
  /** Lower case with dashes, e.g. `job-control`: the name in the directory, in logs and in variables. */
  readonly name: string;
  readonly version: string;
  readonly config: S;
  /** Puts the parts together. The server takes calls once this has resolved; a throw undoes what was opened. */
  start(context: ServiceContext<ConfigOf<S>>): Promise<void>;
}

export interface ServiceContext<C = ConfigOf<ConfigSchema>> {
  readonly name: string;
  readonly version: string;
  /** UUIDv7, new with each start. */
  readonly instanceId: string;
  readonly config: C;
  readonly clock: Clock;
  readonly log: Logger;
  /** What was opened; disposed in reverse once the server has drained and the background loops have ended. */
  readonly resources: AsyncDisposableStack;
  readonly server: RpcServer;
  readonly clients: Clients;
  /** Which services these clients called by name so far, ordered by name. */
  readonly callees: () => readonly CalleeCount[];
  readonly lifecycle: Lifecycle;
  readonly telemetry: { readonly tracer: Tracer; readonly meter: Meter };
  /**
   * Runs `loop` until the service stops; its end is awaited. A throw is logged and the loop begins anew after a
   * backoff, so it reads where it stands from the records and takes no input.
   */
  background(name: string, loop: (signal: AbortSignal) => Promise<void>): void;
  /** While `check` throws, the service is NOT_SERVING and out of the directory. Asked three times a second; 600 ms to answer. */
  health(name: string, check: () => Promise<void> | void): void;
  /** The process cannot go on, e.g. its store is lost: drains, stops, and `run` exits with 1. */
  fail(error: unknown): void;
}

export interface StartOptions {
  /** Default: empty, never the process's own. */
  readonly env?: Environment;
  readonly clock?: Clock;
  readonly log?: Logger;
  /** Where the service's own log writes, in place of NEPHOS_LOG_TO. */
  readonly logTo?: LineSink;
  /** An SDK of the caller's, in place of those that the configuration would load. */
  readonly tracerProvider?: TracerProvider;
  readonly meterProvider?: MeterProvider;
}

export interface StopOptions {
  /** How long calls under way may take to end; default NEPHOS_DRAIN_GRACE. */
  readonly graceMs?: number;
}

export interface RunningService<C = ConfigOf<ConfigSchema>> extends AsyncDisposable {
  readonly context: ServiceContext<C>;
  /** Where the server listens. */
  readonly address: Address;
  /** Drains and stops; the same promise each time. */
  stop(options?: StopOptions): Promise<void>;
  /** Resolves once stopped; `failure` is what was given to `fail`. Never rejects. */
  readonly closed: Promise<{ readonly failure?: unknown }>;
}

export function defineService<const S extends ConfigSchema>(
  definition: ServiceDefinition<S>,
): ServiceDefinition<S> {
  return definition;
}
