/**
 * What was seen lately, in order, so that a watcher can resume where it was. In memory and bounded: a watcher that
 * was away for longer, or since before a restart, gets the full picture instead (DESIGN section 9: one event stream
 * with a resume cursor). A crash loses it, which a watcher cannot mistake for silence: the session changes.
 */
import type { MachineObservation } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { newUid } from '@nephos/service';

const defaultCapacity = 10_000;
const cursorForm = /^([0-9a-f-]{36}):(\d{1,15})$/;

export class ObservationLog {
  readonly #session = newUid();
  readonly #capacity: number;
  #entries: MachineObservation[] = [];
  /** Position of the first entry that is still held. */
  #first = 0;
  readonly #wakers = new Set<() => void>();

  constructor(capacity = defaultCapacity) {
    this.#capacity = capacity;
  }

  /** The position behind the last entry. */
  get end(): number {
    return this.#first + this.#entries.length;
  }

  append(observation: MachineObservation): void {
    this.#entries.push(observation);
    if (this.#entries.length >= 2 * this.#capacity) {
      this.#first += this.#entries.length - this.#capacity;
      this.#entries = this.#entries.slice(-this.#capacity);
    }
    for (const wake of this.#wakers) wake();
  }

  cursorAt(position: number): string {
    return `${this.#session}:${position}`;
  }

  /** The position to resume from; undefined where only the full picture will do. */
  positionOf(cursor: string): number | undefined {
    const [, session, text] = cursorForm.exec(cursor) ?? [];
    const position = Number(text);
    if (session !== this.#session || position < this.#first || position > this.end) return undefined;
    return position;
  }

  /** Entries from a position on; undefined when some of them are no longer held. */
  from(position: number, most: number): readonly MachineObservation[] | undefined {
    if (position < this.#first) return undefined;
    const start = position - this.#first;
    return this.#entries.slice(start, start + most);
  }

  /** Calls `wake` after each append. */
  onAppend(wake: () => void): Disposable {
    this.#wakers.add(wake);
    return { [Symbol.dispose]: () => this.#wakers.delete(wake) };
  }
}
