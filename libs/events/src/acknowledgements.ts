/**
 * Acknowledgements of one turn of the event loop, sent together at its end: one write to the socket for all of them
 * instead of one each. A crash before that has the broker deliver again, as after any lost acknowledgement.
 */
export class Acknowledgements {
  #waiting: (() => unknown)[] = [];

  add(acknowledge: () => unknown): void {
    this.#waiting.push(acknowledge);
    if (this.#waiting.length === 1) setImmediate(() => this.send());
  }

  /** Sends what waits now. */
  send(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const acknowledge of waiting) quietly(acknowledge);
  }
}

/** An acknowledgement that the connection did not take is no harm: the delivery comes again and is dropped. */
export function quietly(act: () => unknown): void {
  try {
    act();
  } catch {
    // The connection is closed.
  }
}
