/**
 * `main.ts` of every service, and of several in one process: configuration from the environment, SIGTERM and
 * SIGINT drain, a second signal ends at once. Exit codes: 0 stopped when told to; 1 failed; 2 wrong configuration.
 */
import type { ConfigSchema } from './config.ts';
import { Invalid } from './errors.ts';
import type { ServiceDefinition } from './service.ts';
import { startService } from './start.ts';

const exitCodes = { stopped: 0, failed: 1, configuration: 2, forced: 130 } as const;

/** Starts the services and stays until they have stopped; then exits. */
export async function run(...definitions: ServiceDefinition<ConfigSchema>[]): Promise<void> {
  const told = Promise.withResolvers<void>();
  let signals = 0;
  const onSignal = (): void => {
    signals += 1;
    if (signals > 1) process.exit(exitCodes.forced);
    told.resolve();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  process.exitCode = await live(definitions, told.promise);
  // What a dependency may have left open must not keep a stopped process.
  process.exit();
}

/** Returns the exit code. */
async function live(
  definitions: readonly ServiceDefinition<ConfigSchema>[],
  told: Promise<void>,
): Promise<number> {
  const starts = await Promise.allSettled(
    definitions.map((each) => startService(each, { env: process.env })),
  );
  const running = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
  const failures = starts.flatMap((start) => (start.status === 'rejected' ? [start.reason as unknown] : []));
  if (failures.length === 0) {
    const outcome = await Promise.race([told, ...running.map(({ closed }) => closed)]);
    if (outcome?.failure !== undefined) failures.push(outcome.failure);
  }
  const stops = await Promise.allSettled(running.map((service) => service.stop()));
  for (const stop of stops) if (stop.status === 'rejected') failures.push(stop.reason);
  for (const failure of failures) process.stderr.write(`${describe(failure)}\n`);
  if (failures.length === 0) return exitCodes.stopped;
  return failures.some((failure) => failure instanceof Invalid) ? exitCodes.configuration : exitCodes.failed;
}

/** A wrong configuration is its operator's: one line. Anything else is ours: the whole trace. */
function describe(failure: unknown): string {
  if (failure instanceof Invalid) return failure.message;
  return failure instanceof Error ? (failure.stack ?? failure.message) : String(failure);
}
