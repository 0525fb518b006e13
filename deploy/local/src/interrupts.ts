/**
 * Ctrl-C and SIGTERM. The first asks for an orderly end. What follows within a second is the same one: a terminal
 * signals the whole process group, and those above us hand theirs on. A later one forces.
 */
import type { Clock } from '@nephos/service';

const sameMs = 1000;

export class Interrupts implements Disposable {
  readonly #clock: Clock;
  readonly #asked = new AbortController();
  readonly #onForce: () => void;
  #askedAt: number | undefined;

  constructor(clock: Clock, onForce: () => void) {
    this.#clock = clock;
    this.#onForce = onForce;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, this.interrupt);
  }

  /** Aborted by the first. */
  get signal(): AbortSignal {
    return this.#asked.signal;
  }

  readonly interrupt = (): void => {
    const now = this.#clock.monotonic();
    if (this.#askedAt === undefined) {
      this.#askedAt = now;
      this.#asked.abort(new Error('interrupted'));
    } else if (now - this.#askedAt > sameMs) {
      this.#onForce();
    }
  };

  [Symbol.dispose](): void {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, this.interrupt);
  }
}
