/** The two ways in which writers write, whatever a write is; the same on both sides. */
import { setTimeout as pause } from 'node:timers/promises';
import { sharedNow } from '../child.ts';
import type { Burst, Paced, PacedTimes } from './commands.ts';

/** As fast as it goes with so many under way. Gives when it began. */
export async function burst(
  { from, count, window }: Burst,
  write: (number: number) => Promise<unknown>,
): Promise<number> {
  const began = sharedNow();
  let next = from;
  const end = from + count;
  const writer = async (): Promise<void> => {
    while (next < end) await write(next++);
  };
  await Promise.all(Array.from({ length: window }, writer));
  return began;
}

/** At a steady rate, whatever becomes of those before. */
export async function paced(
  { from, count, perSecond }: Paced,
  write: (number: number) => Promise<unknown>,
): Promise<PacedTimes> {
  const asked = new Float64Array(count);
  const kept = new Float64Array(count);
  const began = sharedNow();
  const writes: Promise<void>[] = [];
  const one = async (place: number): Promise<void> => {
    asked[place] = sharedNow();
    await write(from + place);
    kept[place] = sharedNow();
  };
  while (writes.length < count) {
    const due = Math.min(count, Math.ceil(((sharedNow() - began) / 1e9) * perSecond));
    while (writes.length < due) writes.push(one(writes.length));
    await pause(1);
  }
  await Promise.all(writes);
  return { asked, kept };
}
