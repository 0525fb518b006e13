/**
 * One call being served. Made for each call, so it works out nothing before it is asked: the abort controller,
 * the request id and the deadline come into being when a handler, a log line or a nested call reads them.
 */
import type { EventEmitter } from 'node:events';
import type {
  Metadata,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { type Clock, systemClock } from './clock.ts';
import type { CallOrigin } from './context.ts';
import { Cancelled, DeadlineExceeded, type NephosError } from './errors.ts';
import { metadataKeys, readBearer, readText } from './metadata.ts';
import { newUid } from './uid.ts';

/** grpc-js's end of a call, whatever its kind. Messages stay bytes: this layer codes them itself. */
export type Surface =
  | ServerUnaryCall<Buffer, Buffer>
  | ServerReadableStream<Buffer, Buffer>
  | ServerWritableStream<Buffer, Buffer>
  | ServerDuplexStream<Buffer, Buffer>;

export class ServerCall implements CallOrigin {
  readonly method: string;
  /** One side or both is a stream: a drain breaks such calls off and lets others finish. */
  readonly streaming: boolean;
  readonly log: Logger;
  readonly #surface: Surface;
  readonly #clock: Clock;
  /** By the clock that grpc-js itself reads, milliseconds. */
  readonly #deadline: number;
  #requestId: string | undefined;
  #controller: AbortController | undefined;
  #aborted: NephosError | undefined;
  #detached = false;
  #finished = false;
  #cut: ((reason: NephosError) => void) | undefined;

  constructor(surface: Surface, method: string, streaming: boolean, log: Logger, clock: Clock) {
    this.method = method;
    this.streaming = streaming;
    this.log = log;
    this.#surface = surface;
    this.#clock = clock;
    const deadline = surface.getDeadline();
    this.#deadline = typeof deadline === 'number' ? deadline : deadline.getTime();
  }

  get metadata(): Metadata {
    return this.#surface.metadata;
  }

  get requestId(): string {
    this.#requestId ??= readText(this.metadata, metadataKeys.requestId) ?? newUid();
    return this.#requestId;
  }

  get principal(): string {
    return readText(this.metadata, metadataKeys.principal) ?? '';
  }

  get onBehalfOf(): string | undefined {
    return readText(this.metadata, metadataKeys.onBehalfOf);
  }

  get token(): string | undefined {
    return readBearer(this.metadata);
  }

  get peer(): string {
    return this.#surface.getPeer();
  }

  text(key: string): string | undefined {
    return readText(this.metadata, key);
  }

  get deadline(): Date | undefined {
    const left = this.#timeLeft();
    return left === Infinity ? undefined : new Date(this.#clock.now().getTime() + left);
  }

  get detached(): boolean {
    return this.#detached;
  }

  left(): number {
    return this.#detached ? Infinity : this.#timeLeft();
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted);
      else if (this.#surface.cancelled) this.#onCancelled();
      else listen(this.#surface, () => this.#onCancelled());
    }
    return this.#controller.signal;
  }

  /** Why the call was broken off, if it was. */
  get aborted(): NephosError | undefined {
    if (this.#aborted === undefined && this.#surface.cancelled) this.#onCancelled();
    return this.#aborted;
  }

  detach(): void {
    this.#detached = true;
  }

  /** Breaks the call off from our side, e.g. when draining. Without effect once detached or finished. */
  abort(reason: NephosError): void {
    if (this.#detached || this.#finished || this.#aborted !== undefined) return;
    this.#aborted = reason;
    this.#controller?.abort(reason);
  }

  /** How to answer before the handler does. */
  onCut(answer: (reason: NephosError) => void): void {
    this.#cut = answer;
  }

  /** Ends the call with an error although its handler still works, detached or not. */
  cut(reason: NephosError): void {
    if (this.#finished) return;
    this.#aborted ??= reason;
    this.#controller?.abort(reason);
    this.#cut?.(reason);
  }

  get finished(): boolean {
    return this.#finished;
  }

  /** From here on nothing aborts: grpc-js reports the normal end as a cancellation too. */
  finish(): void {
    this.#finished = true;
  }

  #timeLeft(): number {
    return this.#deadline === Infinity ? Infinity : this.#deadline - systemClock.now().getTime();
  }

  #onCancelled(): void {
    const late = this.#timeLeft() <= 0;
    this.abort(
      late
        ? new DeadlineExceeded('DEADLINE_EXCEEDED', 'the deadline of the call passed')
        : new Cancelled('CALL_CANCELLED', 'the caller cancelled the call'),
    );
  }
}

/** All kinds of surfaces are emitters, yet TypeScript cannot call the union of their overloads. */
function listen(surface: EventEmitter, onCancelled: () => void): void {
  surface.once('cancelled', onCancelled);
}
