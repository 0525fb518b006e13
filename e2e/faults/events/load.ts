/**
 * Writes without end: changes of some entities at once, now and then a removal after which the entity comes back.
 * Every entity exists when it has stopped, so that the store can say all counters.
 */
import type { Clock } from '@nephos/service';
import { AlreadyExists, NotFound } from '@nephos/service';
import type { Zones } from './entity.ts';
import type { Choices } from './seeded.ts';

export async function writeUntil(
  signal: AbortSignal,
  zones: Zones,
  choices: Choices,
  clock: Clock,
): Promise<void> {
  const ids = Array.from({ length: 30 }, (_, at) => `e${at}`);
  await Promise.all(ids.map((id) => writeOne(signal, zones, id, choices, clock)));
}

async function writeOne(signal: AbortSignal, zones: Zones, id: string, choices: Choices, clock: Clock) {
  for (let count = 0; !signal.aborted; count += 1) {
    if (choices.chance(0.01)) await zones.remove(id).catch(ignoreMissing);
    await put(zones, id, `${process.pid}/${count}`);
    await clock.sleep(choices.next() * 40, signal).catch(() => undefined);
  }
  await put(zones, id, `${process.pid}/last`);
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
