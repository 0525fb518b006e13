/**
 * Starts a service and takes it through its life. Opening goes: configuration, log, telemetry, the service's own
 * parts, listen, serving. Closing goes back: NOT_SERVING, leave the directory, wait until callers have learnt
 * of it, end the calls, end the loops, dispose what was opened in reverse. A start that fails closes what it had
 * opened. A crash leaves nothing here: whatever must last is in the service's store.
 */
import type { Logger } from 'pino';
import { type Address, advertisedAddress, hostAndPort } from './address.ts';
import { BackgroundLoops } from './background.ts';
import { ChannelClients } from './clients.ts';
import { type Clock, systemClock } from './clock.ts';
import { type CommonConfig, type ConfigOf, parseServiceConfig } from './common-config.ts';
import type { ConfigSchema } from './config.ts';
import { enableFailpoints } from './failpoint.ts';
import { HealthChecks } from './health-checks.ts';
import { LifecycleControl } from './lifecycle.ts';
import { createLog } from './log.ts';
import { Secret, urlSecrets } from './secret.ts';
import { GrpcServer } from './server.ts';
import type {
  RunningService,
  ServiceContext,
  ServiceDefinition,
  StartOptions,
  StopOptions,
} from './service.ts';
import { startTelemetry } from './telemetry.ts';
import { newUid } from './uid.ts';

/** Secrets, and the passwords and tokens inside URLs. */
function secretsOf(config: object): string[] {
  return Object.values(config).flatMap((value: unknown) => {
    if (value instanceof Secret) return [value.reveal()];
    return typeof value === 'string' ? urlSecrets(value) : [];
  });
}

/** Starts a service in this process. Rejects with Invalid for a wrong configuration, or with what `start` threw. */
export async function startService<S extends ConfigSchema>(
  definition: ServiceDefinition<S>,
  options: StartOptions = {},
): Promise<RunningService<ConfigOf<S>>> {
  const { env = {}, clock = systemClock } = options;
  const { name, version } = definition;
  const config = parseServiceConfig(name, definition.config, env);
  const common: CommonConfig = config;
  const instanceId = newUid();
  const log = options.log ?? openLog(name, version, instanceId, config, options);
  enableFailpoints(common.failpoints, name);

  // Disposed in reverse, also when the start fails: calls end before loops, loops before what they stand on.
  await using opened = new AsyncDisposableStack();
  const { otlpEndpoint, metricsBind } = common;
  const { tracerProvider, meterProvider } = options;
  const telemetry = await startTelemetry(
    { service: name, version, instanceId, clock, otlpEndpoint, metricsBind, tracerProvider, meterProvider },
    opened,
  );
  const parts = new Parts(log, clock);
  const server = new GrpcServer({ log, clock, telemetry });
  const clients = opened.use(
    new ChannelClients({ clock, telemetry, principal: `services/${name}` }, instanceId),
  );
  const resources = opened.use(new AsyncDisposableStack());
  opened.defer(() => parts.loops.stop(common.drainGrace));
  opened.defer(() => server.close(0));
  const failed = Promise.withResolvers<unknown>();
  const context: ServiceContext<ConfigOf<S>> = {
    ...{ name, version, instanceId, config, clock, log, resources, server, clients, telemetry },
    lifecycle: parts.lifecycle,
    callees: () => clients.callees(),
    background: (loop, run) => parts.loops.start(loop, run),
    health: (check, run) => parts.checks.add(check, run),
    fail: (error) => {
      log.fatal({ err: error }, 'the service cannot go on');
      failed.resolve(error);
    },
  };
  await definition.start(context);
  const address = await server.listen(hostAndPort(common.bind));
  const life = new Life(common, parts, server, opened.move());
  await life.serve(address);
  return life.running(context, address, failed.promise);
}

function openLog(
  service: string,
  version: string,
  instanceId: string,
  config: CommonConfig,
  { logTo }: StartOptions,
): Logger {
  const to = logTo ?? config.logTo;
  return createLog({ service, version, instanceId, level: config.logLevel, to, secrets: secretsOf(config) });
}

/** The inner parts that the context shows only in part. */
class Parts {
  readonly clock: Clock;
  readonly lifecycle: LifecycleControl;
  readonly loops: BackgroundLoops;
  readonly checks: HealthChecks;

  constructor(log: Logger, clock: Clock) {
    this.clock = clock;
    this.lifecycle = new LifecycleControl(log);
    this.loops = new BackgroundLoops(log, clock);
    this.checks = new HealthChecks(log, clock, (healthy) => this.lifecycle.setHealthy(healthy));
  }
}

/** A service from serving to stopped. */
class Life {
  readonly #config: CommonConfig;
  readonly #parts: Parts;
  readonly #server: GrpcServer;
  readonly #opened: AsyncDisposableStack;
  #stopping: Promise<void> | undefined;

  constructor(config: CommonConfig, parts: Parts, server: GrpcServer, opened: AsyncDisposableStack) {
    this.#config = config;
    this.#parts = parts;
    this.#server = server;
    this.#opened = opened;
  }

  async serve(bound: Address): Promise<void> {
    const { lifecycle, loops, checks } = this.#parts;
    lifecycle.onHealth((healthy) => this.#server.health.setServing(healthy && lifecycle.state === 'serving'));
    await checks.ask();
    this.#server.health.setServing(lifecycle.healthy);
    lifecycle.serving(advertisedAddress(this.#config.advertise, bound));
    loops.start('health', (signal) => checks.watch(signal));
  }

  running<C>(context: ServiceContext<C>, address: Address, failed: Promise<unknown>): RunningService<C> {
    const stopped = Promise.withResolvers<void>();
    const stop = (options: StopOptions = {}): Promise<void> => {
      this.#stopping ??= this.#stop(options.graceMs ?? this.#config.drainGrace).finally(stopped.resolve);
      return this.#stopping;
    };
    let outcome: { readonly failure?: unknown } = {};
    void failed.then((failure) => {
      outcome = { failure };
      return stop().catch((error: unknown) => context.log.error({ err: error }, 'stopping went wrong'));
    });
    const closed = stopped.promise.then(() => outcome);
    return { context, address, stop, closed, [Symbol.asyncDispose]: () => stop() };
  }

  /** Tells the parts, the directory among them; one that hangs is left behind. */
  async #leave(graceMs: number): Promise<void> {
    const { lifecycle, clock } = this.#parts;
    using bound = new DisposableStack();
    const late = new Promise<void>((resolve) => bound.use(clock.timer(graceMs, resolve)));
    await Promise.race([lifecycle.draining(), late]);
  }

  async #stop(graceMs: number): Promise<void> {
    const { lifecycle, loops, clock } = this.#parts;
    this.#server.health.setServing(false);
    await this.#leave(graceMs);
    await clock.sleep(Math.min(this.#config.drainDelay, graceMs));
    await this.#server.close(graceMs);
    await loops.stop(graceMs);
    try {
      await this.#opened.disposeAsync();
    } finally {
      lifecycle.stopped();
    }
  }
}
