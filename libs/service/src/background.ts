/**
 * Loops that run beside the calls until the service stops. A loop that throws is logged and begun anew after a
 * growing pause, which is why it takes no input; one that returns is done.
 */
import type { Logger } from 'pino';
import type { Clock } from './clock.ts';
import { type Backoff, pauseAfter } from './retry.ts';

const backoff: Backoff = { firstMs: 100, maxMs: 10_000 };
/** A loop that ran this long before it failed begins with the first pause again, milliseconds. */
const healthyMs = 30_000;

export class BackgroundLoops {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #running = new Map<Promise<void>, string>();

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  start(name: string, loop: (signal: AbortSignal) => Promise<void>): void {
    const running = this.#keepRunning(name, loop).finally(() => this.#running.delete(running));
    this.#running.set(running, name);
  }

  /** Aborts all and waits for their end, at most `graceMs`; names those that did not end. */
  async stop(graceMs: number): Promise<void> {
    this.#stop.abort();
    using waiting = new DisposableStack();
    const late = new Promise<'late'>((resolve) =>
      waiting.use(this.#clock.timer(graceMs, () => resolve('late'))),
    );
    const ended = Promise.all(this.#running.keys());
    if ((await Promise.race([ended, late])) === 'late') {
      this.#log.error({ loops: [...this.#running.values()] }, 'background loops did not end when told to');
    }
  }

  async #keepRunning(name: string, loop: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 1; !signal.aborted; failures += 1) {
      const began = this.#clock.monotonic();
      try {
        await loop(signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (this.#clock.monotonic() - began > healthyMs) failures = 1;
        const pauseMs = pauseAfter(failures, backoff);
        this.#log.error({ err: error, loop: name, pauseMs }, 'a background loop failed and begins anew');
        await this.#clock.sleep(pauseMs, signal).catch(() => {});
      }
    }
  }
}
