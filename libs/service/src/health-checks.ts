/**
 * The checks that decide whether a service is healthy: all are asked three times a second; one that throws, or
 * takes longer than 600 ms, makes it unhealthy until it passes again. Both together stay under a second, so that
 * callers' lists are rid of it within one. Where this process itself stood still meanwhile, the check has its time again.
 */
import type { Logger } from 'pino';
import type { Clock } from './clock.ts';

const everyMs = 300;
const timeLimitMs = 600;
/** A timer that is this late: the event loop was busy, and an answer may lie there unread. */
const busyMs = 100;
const mostBusy = 3;

interface Check {
  readonly run: () => Promise<void> | void;
  failing: boolean;
}

export class HealthChecks {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #changed: (healthy: boolean) => void;
  readonly #checks = new Map<string, Check>();

  constructor(log: Logger, clock: Clock, changed: (healthy: boolean) => void) {
    this.#log = log;
    this.#clock = clock;
    this.#changed = changed;
  }

  add(name: string, run: () => Promise<void> | void): void {
    if (this.#checks.has(name)) throw new Error(`there is a health check ${name} already`);
    this.#checks.set(name, { run, failing: false });
  }

  /** Asks all, again and again, until aborted. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.ask();
      await this.#clock.sleep(everyMs, signal).catch(() => {});
    }
  }

  async ask(): Promise<void> {
    await Promise.all(Array.from(this.#checks, ([name, check]) => this.#askOne(name, check)));
    this.#changed(Array.from(this.#checks.values()).every(({ failing }) => !failing));
  }

  async #askOne(name: string, check: Check): Promise<void> {
    using limit = new DisposableStack();
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`no answer within ${timeLimitMs} ms`);
      const wait = (busy: number): void => {
        const due = this.#clock.monotonic() + timeLimitMs;
        const over = () => {
          if (busy < mostBusy && this.#clock.monotonic() > due + busyMs) wait(busy + 1);
          else reject(error);
        };
        limit.use(this.#clock.timer(timeLimitMs, over));
      };
      wait(0);
    });
    try {
      await Promise.race([Promise.resolve(check.run()), late]);
      if (check.failing) this.#log.info({ check: name }, 'health check passes again');
      check.failing = false;
    } catch (error) {
      if (!check.failing) this.#log.warn({ check: name, err: error }, 'health check fails');
      check.failing = true;
    }
  }
}
