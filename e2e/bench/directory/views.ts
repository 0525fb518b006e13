/** What the watchers of one process know, and who waits for them to know it; the same on both sides. */
import { sharedNow } from '../child.ts';
import type { Told } from './commands.ts';

interface Waiting {
  readonly holds: (view: View) => boolean;
  readonly at: Float64Array;
  left: number;
  readonly resolve: (at: Float64Array) => void;
}

/** One watcher's list: the state of each instance by number. */
export type View = ReadonlyMap<number, number>;

export class Views {
  /** Each watcher's list and its place. */
  readonly #views = new Map<View, number>();
  readonly #waiting = new Set<Waiting>();

  /** A new watcher's list. */
  add(): Map<number, number> {
    const view = new Map<number, number>();
    this.#views.set(view, this.#views.size);
    return view;
  }

  /** The list has changed. */
  changed(view: Map<number, number>): void {
    for (const waiting of this.#waiting) this.#check(waiting, view, this.#views.get(view) ?? 0);
  }

  seen({ number, state }: Told): Promise<Float64Array> {
    return this.#until((view) => view.get(number) === state);
  }

  async gone(number: number): Promise<number> {
    return Math.max(...(await this.#until((view) => !view.has(number))));
  }

  async know(instances: number): Promise<void> {
    await this.#until((view) => view.size >= instances);
  }

  #until(holds: (view: View) => boolean): Promise<Float64Array> {
    return new Promise((resolve) => {
      const count = this.#views.size;
      const waiting = { holds, at: new Float64Array(count), left: count, resolve };
      this.#waiting.add(waiting);
      for (const [view, place] of this.#views) this.#check(waiting, view, place);
    });
  }

  #check(waiting: Waiting, view: View, place: number): void {
    if (waiting.at[place] !== 0 || !waiting.holds(view)) return;
    waiting.at[place] = sharedNow();
    waiting.left -= 1;
    if (waiting.left > 0) return;
    this.#waiting.delete(waiting);
    waiting.resolve(waiting.at);
  }
}
