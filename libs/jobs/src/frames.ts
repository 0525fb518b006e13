/**
 * Coalesces what is pushed into frames: the messages of a stream that carries many small things. While a frame is
 * being written, the next one fills; an idle stream waits one turn of the event loop for company.
 */

export class Frames<T> implements AsyncIterable<readonly T[]> {
  readonly #most: number;
  #items: T[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  /** `most` items go into a frame. */
  constructor(most = 256) {
    this.#most = most;
  }

  push(item: T): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake?.();
  }

  /** What was pushed before still goes out. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<readonly T[], void, undefined> {
    for (;;) {
      if (this.#items.length === 0) {
        if (this.#ended) return;
        await new Promise<void>((resolve) => {
          this.#wake = () => {
            this.#wake = undefined;
            setImmediate(resolve);
          };
        });
        continue;
      }
      const frame = this.#items.length <= this.#most ? this.#items : this.#items.slice(0, this.#most);
      this.#items = frame === this.#items ? [] : this.#items.slice(this.#most);
      yield frame;
    }
  }
}
