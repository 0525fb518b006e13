/**
 * Writes without end: changes of some entities at once, now and then a removal after which the entity comes back.
 * Every entity exists when it has stopped, so that the store can say all counters.
 */
import type { Clock } from '@nephos/service';
import { AlreadyExists, NotFound } from '@nephos/service';
import type { Zones } from './entity.ts';
import type { Choices } from './seeded.ts';

/** What the writes came to. One that is refused is thrown, and ends the source. */
export interface Load {
  readonly writes: number;
  readonly slowestMs: number;
}

export async function writeUntil(
  signal: AbortSignal,
  zones: Zones,
  choices: Choices,
  clock: Clock,
): Promise<Load> {
  const ids = Array.from({ length: 30 }, (_, at) => `e${at}`);
  const load = { writes: 0, slowestMs: 0 };
  const write = async (id: string, description: string): Promise<void> => {
    const began = clock.monotonic();
    await put(zones, id, description);
    load.writes += 1;
    load.slowestMs = Math.max(load.slowestMs, Math.round(clock.monotonic() - began));
  };
  const writeOne = async (id: string): Promise<void> => {
    for (let count = 0; !signal.aborted; count += 1) {
      if (choices.chance(0.01)) await zones.remove(id).catch(ignoreMissing);
      await write(id, `${process.pid}/${count}`);
      await clock.sleep(choices.next() * 40, signal).catch(() => undefined);
    }
    await write(id, `${process.pid}/last`);
  };
  await Promise.all(ids.map(writeOne));
  return load;
}

async function put(zones: Zones, id: string, description: string): Promise<void> {
  try {
    await zones.insert(id, { description });
  } catch (error) {
    if (!(error instanceof AlreadyExists)) throw error;
    await zones.modify(id, () => ({ description }));
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof NotFound)) throw error;
}
