/**
 * Takes out of the outbox what the broker has acknowledged: all that came while one clearing was under way goes with
 * the next, so that many events cost one operation of the store.
 * Owner: the relay. Invariant: of a lane nothing beyond its acknowledged events goes. A clearing that failed, or
 * that a crash forgot, leaves events that are published again under the same id.
 */
import { failpoint } from '@nephos/service';
import type { Outbox } from '@nephos/store';
import type { EventsLog } from './context.ts';
import type { Lane } from './relay-lanes.ts';

export class Clearing {
  readonly #outbox: Outbox;
  readonly #log: EventsLog;
  readonly #onCleared: (lane: Lane) => void;
  #wanted: Lane[] = [];
  #running: Promise<void> | undefined;

  /** `onCleared` is told of each lane that has nothing left to clear. */
  constructor(outbox: Outbox, log: EventsLog, onCleared: (lane: Lane) => void) {
    this.#outbox = outbox;
    this.#log = log;
    this.#onCleared = onCleared;
  }

  /** Clears the lane's acknowledged events soon. */
  want(lane: Lane): void {
    if (lane.clearing) return;
    lane.clearing = true;
    this.#wanted.push(lane);
    this.#running ??= this.#run();
  }

  /** Resolves once all that was wanted is done. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#wanted.length > 0) {
      // What this turn of the event loop acknowledges goes together.
      await new Promise((resolve) => setImmediate(resolve));
      const lanes = this.#wanted;
      this.#wanted = [];
      await this.#clear(lanes);
    }
    this.#running = undefined;
  }

  async #clear(lanes: readonly Lane[]): Promise<void> {
    const cleared = lanes.map(({ collection, id, acknowledgedSeq }) => ({
      collection,
      id,
      upToSeq: acknowledgedSeq,
    }));
    try {
      for (const { collection, id, upToSeq } of cleared)
        await failpoint('relay.clear', { collection, id, upTo: upToSeq });
      await this.#outbox.clearAll(cleared);
    } catch (error) {
      this.#log.warn({ error, entities: lanes.length }, 'clearing published events failed');
    }
    lanes.forEach((lane, at) => this.#done(lane, cleared[at]?.upToSeq ?? 0));
  }

  #done(lane: Lane, upTo: number): void {
    lane.cleared(upTo);
    lane.clearing = false;
    if (lane.isEmpty && lane.unclearedCount > 0) this.want(lane);
    else this.#onCleared(lane);
  }
}
