/**
 * Hourly tidying: tombstones that are published and a day old leave the store, and the last event of an entity
 * removed a day ago leaves the state stream, so that neither grows with what is gone.
 * Safe in many processes at once: a purge names the sequence up to which it goes, so an entity made anew under
 * the same id stays.
 */
import type { Store } from '@nephos/store';
import type { Bus, Session } from './bus.ts';
import { removedHeader } from './cloudevent.ts';
import { readRange } from './history.ts';
import { streams } from './streams.ts';

const everyMs = 60 * 60 * 1000;
const keepRemovedMs = 24 * 60 * 60 * 1000;

export class Sweeper implements Disposable {
  readonly #timer: Disposable;

  constructor(store: Store, bus: Bus) {
    const sweep = async (): Promise<void> => {
      try {
        await store.outbox.sweepTombstones(keepRemovedMs);
        if (bus.session) await sweepState(bus.session, keepRemovedMs);
      } catch (error) {
        bus.log.warn({ error }, 'sweeping what was removed failed');
      }
    };
    this.#timer = bus.clock.every(everyMs, () => void sweep());
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
  }
}

/**
 * Takes entities out of the state stream that were removed this long before the newest event, by the broker's
 * clock alone; returns how many.
 */
export async function sweepState(session: Session, keepMs: number): Promise<number> {
  const { jsm } = session;
  const newest = Date.parse((await jsm.streams.info(streams.events)).state.last_ts);
  let swept = 0;
  for await (const message of readRange(session, { stream: streams.state, filter: '>', headersOnly: true })) {
    if (!message.headers?.has(removedHeader) || newest - message.time.getTime() <= keepMs) continue;
    await jsm.streams.purge(streams.state, { filter: message.subject, seq: message.seq + 1 });
    swept += 1;
  }
  return swept;
}
