/**
 * Coalesces what is pushed into frames: the messages of a stream that carries many small things. While a frame is
 * being written, the next one fills; an idle stream waits one turn of the event loop for company.
 * Invariant: a frame is no larger than what a server takes in (4 MiB), or the stream would break on it each time.
 */

/** Items in a frame. */
const mostItems = 256;
/** JSON text in a frame that holds more than one item; as a Struct it may be seven times as long. */
const mostText = 256 * 1024;

export class Frames<T> implements AsyncIterable<readonly T[]> {
  readonly #textOf: (item: T) => number;
  #items: T[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  /** `textOf` gives how long the JSON text is that an item carries. */
  constructor(textOf: (item: T) => number = () => 0) {
    this.#textOf = textOf;
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
      const size = this.#fitting();
      const frame = this.#items.length === size ? this.#items : this.#items.slice(0, size);
      this.#items = frame === this.#items ? [] : this.#items.slice(size);
      yield frame;
    }
  }

  /** How many of the items go into the next frame. */
  #fitting(): number {
    let count = 0;
    let text = 0;
    for (const item of this.#items) {
      text += this.#textOf(item);
      if (count > 0 && (text > mostText || count === mostItems)) break;
      count += 1;
    }
    return count;
  }
}
