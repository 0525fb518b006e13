/**
 * Takes out of the outbox what the broker has acknowledged: all that came while one clearing was under way goes with
 * the next, so that many events cost one operation of the store.
 * Owner: the relay. Invariant: of a lane nothing beyond its acknowledged events goes. A clearing that failed, or
 * that a crash forgot, leaves events that are published again under the same id.
 */
import { failpoint } from '@nephos/service';
import type { Outbox } from '@nephos/store';
import type { EventsContext } from './context.ts';
import type { Lane } from './relay-lanes.ts';

export interface ClearingListener {
  /** Of each lane that has nothing left to clear. */
  onCleared(lane: Lane): void;
  /** What was published long ago, or cannot be cleared, may still lie in the outbox. */
  onDoubt(): void;
}

/** A clearing that took longer is as good as one that failed, milliseconds. */
const longMs = 10_000;

export class Clearing {
  readonly #outbox: Outbox;
  readonly #context: EventsContext;
  readonly #listener: ClearingListener;
  #wanted: Lane[] = [];
  #running: Promise<void> | undefined;

  constructor(outbox: Outbox, context: EventsContext, listener: ClearingListener) {
    this.#outbox = outbox;
    this.#context = context;
    this.#listener = listener;
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
    const { clock, log } = this.#context;
    const began = clock.monotonic();
    try {
      for (const { collection, id, upToSeq } of cleared)
        await failpoint('relay.clear', { collection, id, upTo: upToSeq });
      await this.#outbox.clearAll(cleared);
    } catch (error) {
      log.warn({ error, entities: lanes.length }, 'clearing published events failed');
      this.#listener.onDoubt();
    }
    if (clock.monotonic() - began > longMs) this.#listener.onDoubt();
    lanes.forEach((lane, at) => this.#done(lane, cleared[at]?.upToSeq ?? 0));
  }

  #done(lane: Lane, upTo: number): void {
    lane.cleared(upTo);
    lane.clearing = false;
    if (lane.isEmpty && lane.unclearedCount > 0) this.want(lane);
    else this.#listener.onCleared(lane);
  }
}
