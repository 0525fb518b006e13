// Lets operations in until too many wait, turns the driver's errors into the store's, and closes behind the last.
// Owner: the MongoDB adapter. Invariant: what was let in is carried out or refused before the store is closed.
import { Exhausted, Unavailable } from '@nephos/service';
import { storeError } from './faults.ts';

const maxWaitingBytes = 128 * 1024 * 1024;
const retryAfterMs = 100;

export class Gate {
  readonly #maxWaiting: number;
  readonly #idle = Promise.withResolvers<void>();
  #open = 0;
  #openBytes = 0;
  #closed = false;

  constructor(maxWaiting: number) {
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
      return await operation();
    } catch (error) {
      throw storeError(error);
    } finally {
      this.#open -= 1;
      this.#openBytes -= bytes;
      if (this.#closed && this.#open === 0) this.#idle.resolve();
    }
  }

  /** Resolves once what was let in is done; lets nothing more in. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#open === 0) this.#idle.resolve();
    await this.#idle.promise;
  }
}
