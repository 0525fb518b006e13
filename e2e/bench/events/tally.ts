/** Counts what a subscriber handles against what it was told to expect; the same on both sides. */
import { sharedNow } from '../child.ts';
import type { Expected, Handled } from './commands.ts';

export class Tally {
  #left = 0;
  #from = 0;
  #at = new Float64Array(0);
  #done: (handled: Handled) => void = () => undefined;

  expect({ from, count }: Expected): Promise<Handled> {
    this.#left = count;
    this.#from = from;
    this.#at = new Float64Array(count);
    return new Promise((resolve) => (this.#done = resolve));
  }

  /** An event of the entity with this number was handled; it stood for `events`. */
  handled(number: number, events = 1): void {
    if (this.#left <= 0) return;
    const now = sharedNow();
    const place = number - this.#from;
    if (place >= 0 && place < this.#at.length) this.#at[place] = now;
    this.#left -= events;
    if (this.#left <= 0) this.#done({ last: now, at: this.#at });
  }
}
