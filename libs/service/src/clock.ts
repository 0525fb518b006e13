/**
 * The one source of time. Everything that waits, dates or measures takes a `Clock`, so that a test or a
 * process can shift it; lint forbids the global functions everywhere else.
 * Wall time is for people and records; only `monotonic` may decide anything (DESIGN section 3).
 */

export interface Clock {
  /** Wall time, for records and people. Never compared between hosts. */
  now(): Date;
  /** Milliseconds on a clock that never steps back; its zero has no meaning. */
  monotonic(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `fire` once after `ms`. Disposing cancels it. Does not keep the process alive. */
  timer(ms: number, fire: () => void): Disposable;
  /** Calls `fire` each `ms` until disposed. Does not keep the process alive. */
  every(ms: number, fire: () => void): Disposable;
}

/** Node clamps longer delays to 1 ms; a wait that long is split instead. */
const longestDelay = 2 ** 31 - 1;

class SystemClock implements Clock {
  now(): Date {
    return new Date();
  }

  monotonic(): number {
    return performance.now();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const timer = startTimer(ms, () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      const onAbort = () => {
        timer[Symbol.dispose]();
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  timer(ms: number, fire: () => void): Disposable {
    const timer = startTimer(ms, fire);
    timer.unref();
    return timer;
  }

  every(ms: number, fire: () => void): Disposable {
    const handle = setInterval(fire, ms);
    handle.unref();
    return { [Symbol.dispose]: () => clearInterval(handle) };
  }
}

interface Timer extends Disposable {
  unref(): void;
}

function startTimer(ms: number, fire: () => void): Timer {
  let keepsAlive = true;
  let handle: NodeJS.Timeout;
  const schedule = (left: number): void => {
    const delay = Math.min(Math.max(left, 0), longestDelay);
    handle = setTimeout(() => (left > delay ? schedule(left - delay) : fire()), delay);
    if (!keepsAlive) handle.unref();
  };
  schedule(ms);
  return {
    unref() {
      keepsAlive = false;
      handle.unref();
    },
    [Symbol.dispose]: () => clearTimeout(handle),
  };
}

export const systemClock: Clock = new SystemClock();

/** The same clock with its wall time shifted by `offsetMs`: proves that no decision rests on wall time. */
export function offsetClock(clock: Clock, offsetMs: number): Clock {
  return {
    now: () => new Date(clock.now().getTime() + offsetMs),
    monotonic: () => clock.monotonic(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
    timer: (ms, fire) => clock.timer(ms, fire),
    every: (ms, fire) => clock.every(ms, fire),
  };
}
