// Gathers what one turn of the event loop asks for, so that it travels in one command.
// Owner: the MongoDB adapter. Invariants: each request gets its own outcome; requests are sent in the order asked.

interface Waiting<Q, A> {
  readonly request: Q;
  readonly resolve: (answer: A) => void;
  readonly reject: (error: unknown) => void;
}

export interface GatherOptions<Q, A> {
  /** Carries out many; an answer for each, in order. */
  readonly send: (requests: readonly Q[]) => Promise<readonly PromiseSettledResult<A>[]>;
  /** Requests, and about how many bytes, that one command takes. */
  readonly most: number;
  readonly mostBytes: number;
  readonly bytesOf: (request: Q) => number;
}

export class Gather<Q, A> {
  readonly #options: GatherOptions<Q, A>;
  #waiting: Waiting<Q, A>[] = [];

  constructor(options: GatherOptions<Q, A>) {
    this.#options = options;
  }

  add(request: Q): Promise<A> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.#sendAll());
    });
  }

  #sendAll(): void {
    const all = this.#waiting;
    this.#waiting = [];
    let batch: Waiting<Q, A>[] = [];
    let bytes = 0;
    for (const one of all) {
      const weight = this.#options.bytesOf(one.request);
      if (
        batch.length === this.#options.most ||
        (batch.length > 0 && bytes + weight > this.#options.mostBytes)
      ) {
        void this.#send(batch);
        batch = [];
        bytes = 0;
      }
      batch.push(one);
      bytes += weight;
    }
    void this.#send(batch);
  }

  async #send(batch: readonly Waiting<Q, A>[]): Promise<void> {
    try {
      const answers = await this.#options.send(batch.map(({ request }) => request));
      for (const [position, { resolve, reject }] of batch.entries()) {
        const answer = answers[position] as PromiseSettledResult<A>;
        if (answer.status === 'fulfilled') resolve(answer.value);
        else reject(answer.reason);
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
