// The caller's side of a store's worker thread: gathers operations into batches, hands replies back.
// Owner: the SQLite adapter. Invariants: operations are carried out in the order they were asked for; the event
// loop never waits for the disk; what waits is bounded. When the thread dies everything open is rejected and
// the store is failed for good: whether an unanswered write happened is unknown, as after any lost answer.
import { Worker } from 'node:worker_threads';
import { Exhausted, Unavailable } from '@nephos/service';
import { packed } from './packing.ts';
import type { FromWorker, Operation, Reply, ToWorker, WorkerSettings } from './protocol.ts';

const maxBatch = 1000;
/** A second batch is sent behind the one at work only when it is worth a disk sync of its own. */
const worthwhileBatch = 200;
const maxWaitingBytes = 128 * 1024 * 1024;
const retryAfterMs = 100;

interface Entry {
  readonly operation: Operation;
  readonly bytes: number;
  readonly settle: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

export class WorkerChannel {
  /** Resolves when the thread died. */
  readonly failure: Promise<Error>;
  readonly #worker: Worker;
  readonly #file: string;
  readonly #maxWaiting: number;
  readonly #reportFailure: (error: Error) => void;
  readonly #inFlight: Entry[][] = [];
  #waiting: Entry[] = [];
  #open = 0;
  #openBytes = 0;
  #scheduled = false;
  #refusal: Error | undefined;
  readonly #closed = Promise.withResolvers<void>();

  /** Throws `Unavailable` when another process holds the file, or it cannot be opened. */
  static async open(file: string, maxWaiting: number): Promise<WorkerChannel> {
    const settings: WorkerSettings = { file };
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: settings,
      name: 'store',
    });
    const opened = Promise.withResolvers<void>();
    const onFirst = (message: FromWorker): void => {
      if ('notOpened' in message) opened.reject(cannotOpen(file, message.notOpened));
      else opened.resolve();
    };
    worker.once('message', onFirst);
    worker.once('error', opened.reject);
    await opened.promise;
    worker.off('error', opened.reject);
    return new WorkerChannel(worker, file, maxWaiting);
  }

  private constructor(worker: Worker, file: string, maxWaiting: number) {
    this.#worker = worker;
    this.#file = file;
    this.#maxWaiting = maxWaiting;
    const failure = Promise.withResolvers<Error>();
    this.failure = failure.promise;
    this.#reportFailure = failure.resolve;
    worker.on('message', (message: FromWorker) => this.#receive(message));
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', (code) => this.#exited(code));
  }

  /** `bytes` is about how much text the operation carries; `read` makes of its reply what the caller gets. */
  request<R>(operation: Operation, bytes: number, read: (reply: Reply) => R): Promise<R> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    if (this.#open >= this.#maxWaiting || this.#openBytes + bytes > maxWaitingBytes) {
      const message = `${this.#open} operations wait for the disk already`;
      return Promise.reject(new Exhausted('LIMIT_REACHED', message, { retryAfterMs }));
    }
    return new Promise((resolve, reject) => {
      this.#open += 1;
      this.#openBytes += bytes;
      const settle = (reply: Reply): void => {
        try {
          resolve(read(reply));
        } catch (error) {
          reject(error as Error);
        }
      };
      this.#waiting.push({ operation, bytes, settle, reject });
      this.#scheduleSend();
    });
  }

  /** Waits for what was accepted, then lets go of the file. */
  async close(): Promise<void> {
    if (this.#refusal === undefined) {
      this.#refusal = unavailable(`the store ${this.#file} is closed`);
      while (this.#waiting.length > 0) this.#sendBatch();
      this.#post({ close: true });
    }
    await this.#closed.promise;
  }

  /**
   * At the end of this turn of the event loop, so that what one turn asks for travels together, and that replies
   * cannot call forth further replies within one turn: a busy store would starve timers and sockets.
   */
  #scheduleSend(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#sendWhatIsDue();
    });
  }

  #sendWhatIsDue(): void {
    if (this.#refusal !== undefined) return;
    if (this.#inFlight.length === 0 && this.#waiting.length > 0) this.#sendBatch();
    if (this.#inFlight.length === 1 && this.#waiting.length >= worthwhileBatch) this.#sendBatch();
  }

  #sendBatch(): void {
    const batch = this.#waiting.slice(0, maxBatch);
    this.#waiting = this.#waiting.slice(maxBatch);
    this.#inFlight.push(batch);
    this.#post({ operations: batch.map((entry) => packed(entry.operation)) });
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromWorker): void {
    if (!('replies' in message)) return;
    let next = 0;
    while (next < message.replies.length) {
      for (const entry of this.#inFlight.shift() ?? []) {
        this.#open -= 1;
        this.#openBytes -= entry.bytes;
        entry.settle(message.replies[next++] as Reply);
      }
    }
    this.#scheduleSend();
  }

  #exited(code: number): void {
    const open = [...this.#inFlight.flat(), ...this.#waiting];
    if (open.length > 0 || this.#refusal === undefined)
      this.#fail(new Error(`the thread ended with ${code}`));
    this.#closed.resolve();
  }

  #fail(cause: Error): void {
    const error = unavailable(`the store ${this.#file} failed: ${cause.message}`, cause);
    this.#refusal = error;
    for (const entry of [...this.#inFlight.splice(0).flat(), ...this.#waiting.splice(0)]) entry.reject(error);
    this.#reportFailure(error);
  }
}

function cannotOpen(file: string, { busy, message }: { busy: boolean; message: string }): Unavailable {
  return unavailable(
    busy ? `the store ${file} is held by another process` : `the store ${file} cannot be opened: ${message}`,
  );
}

function unavailable(message: string, cause?: Error): Unavailable {
  return new Unavailable('SERVICE_UNAVAILABLE', message, cause === undefined ? {} : { cause });
}
