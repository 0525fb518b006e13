/**
 * The observation stream of a hypervisor plugin: the full picture (or, with a cursor still held, what came after
 * it), then each change, with a heartbeat in between. The position is taken before the picture is, so that nothing
 * falls between the two; what is told twice is level, not edge.
 */
import type {
  MachineObservation,
  WatchObservationsResponse,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { Clock, DeepPartial } from '@nephos/service';
import type { HypervisorDriver } from './drivers.ts';
import type { ObservationLog } from './observation-log.ts';

const heartbeatMs = 2_000;
const batchSize = 500;

export interface WatchParts {
  readonly driver: HypervisorDriver;
  readonly log: ObservationLog;
  readonly clock: Clock;
  /** Aborted once the agent will leave in order. */
  readonly draining: AbortSignal;
}

type Message = DeepPartial<WatchObservationsResponse>;

export async function* watchObservations(
  { driver, log, clock, draining }: WatchParts,
  cursor: string,
  signal: AbortSignal,
): AsyncGenerator<Message> {
  let position = log.positionOf(cursor);
  if (position === undefined) {
    position = log.end;
    yield* picture(driver, log.cursorAt(position));
  }
  const alarm = new Alarm();
  using resources = new DisposableStack();
  resources.use(log.onAppend(() => alarm.ring()));
  resources.use(clock.every(heartbeatMs, () => alarm.ring()));
  const leave = (): void => alarm.ring();
  signal.addEventListener('abort', leave, { once: true });
  draining.addEventListener('abort', leave, { once: true });
  resources.defer(() => {
    signal.removeEventListener('abort', leave);
    draining.removeEventListener('abort', leave);
  });
  while (!signal.aborted) {
    const observations = log.from(position, batchSize);
    if (observations === undefined) return;
    position += observations.length;
    yield { cursor: log.cursorAt(position), observations: [...observations], draining: draining.aborted };
    if (draining.aborted && observations.length === 0) return;
    if (observations.length < batchSize && !draining.aborted) await alarm.wait();
  }
}

async function* picture(driver: HypervisorDriver, cursor: string): AsyncGenerator<Message> {
  let batch: MachineObservation[] = [];
  for (const { host } of driver.capabilities()) {
    for (const observation of await driver.list(host)) {
      batch.push(observation);
      if (batch.length < batchSize) continue;
      yield { observations: batch };
      batch = [];
    }
  }
  yield { cursor, observations: batch, snapshotComplete: true };
}

/** Remembers one ring, so that none is missed between two waits. */
class Alarm {
  #rung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async wait(): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#rung = false;
    this.#wake = undefined;
  }
}
