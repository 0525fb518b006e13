// Lets operations in until too many wait, turns the driver's errors into the store's, and closes behind the last.
// Owner: the MongoDB adapter. Invariant: what was let in is carried out or refused before the store is closed.
import { type Clock, Exhausted, Unavailable } from '@nephos/service';
import { storeError, wasNotSent } from './faults.ts';

const maxWaitingBytes = 128 * 1024 * 1024;
const retryAfterMs = 100;
const maxAttempts = 5;
const longestPauseMs = 200;

export class Gate {
  readonly #maxWaiting: number;
  readonly #clock: Clock;
  readonly #idle = Promise.withResolvers<void>();
  #open = 0;
  #openBytes = 0;
  #closed = false;

  constructor(maxWaiting: number, clock: Clock) {
    this.#clock = clock;
    this.#maxWaiting = maxWaiting;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** `bytes` is about how much text the operation carries. */
  async run<R>(bytes: number, operation: () => Promise<R>): Promise<R> {
    if (this.#closed) throw new Unavailable('SERVICE_UNAVAILABLE', 'the store is closed');
    if (this.#open >= this.#maxWaiting || this.#openBytes + bytes > maxWaitingBytes) {
      const message = `${this.#open} operations wait for MongoDB already`;
      throw new Exhausted('LIMIT_REACHED', message, { retryAfterMs });
    }
    this.#open += 1;
    this.#openBytes += bytes;
    try {
      return await this.#untilSent(operation);
    } catch (error) {
      throw storeError(error);
    } finally {
      this.#open -= 1;
      this.#openBytes -= bytes;
      if (this.#closed && this.#open === 0) this.#idle.resolve();
    }
  }

  /**
   * When a server stalls, the driver takes the connections from all commands that still wait for one. They have done
   * nothing, and what an operation did before such a command it can do again.
   */
  async #untilSent<R>(operation: () => Promise<R>): Promise<R> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await operation();
      } catch (error) {
        if (!wasNotSent(error) || attempt === maxAttempts) throw error;
        await this.#clock.sleep(Math.random() * longestPauseMs);
      }
    }
  }

  /** Resolves once what was let in is done; lets nothing more in. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#open === 0) this.#idle.resolve();
    await this.#idle.promise;
  }
}
