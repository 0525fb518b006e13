/** Bytes, back-pressure and breaking off: what both sides of a streaming call share. */
import type { Writable } from 'node:stream';

/** A view, not a copy: grpc-js wants Buffers. */
export function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** grpc-js's codec where this layer codes messages itself. */
export const bytesAsTheyAre = (bytes: Buffer): Buffer => bytes;

/** Resolves once the stream takes more, or is over. */
export function untilDrained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      stream.off('error', done);
      stream.off('cancelled', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
    stream.on('error', done);
    stream.on('cancelled', done);
  });
}

/**
 * Breaks off a loop that waits for one promise after the other. `Promise.race` against one lasting promise would
 * keep every message of a long stream in memory: that promise collects a reaction each time.
 */
export class Interrupt {
  #raised: { readonly error: unknown } | undefined;
  #waiting: ((error: unknown) => void) | undefined;

  get raised(): boolean {
    return this.#raised !== undefined;
  }

  /** The first error counts. */
  raise(error: unknown): void {
    this.#raised ??= { error };
    this.#waiting?.(this.#raised.error);
  }

  /** What the promise gives, or a rejection with the error raised. One wait at a time. */
  wait<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting = reject;
      promise.then(resolve, reject);
      if (this.#raised !== undefined) reject(this.#raised.error as Error);
    });
  }
}
