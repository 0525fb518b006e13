/**
 * Publishes to JetStream with acknowledgements, many in flight over one inbox.
 * One per connection period: when the connection is lost all that is in flight is rejected, and whether the
 * broker stored it is unknown; the caller repeats it with the same message id. (The client library's own
 * publish serves the same, at a third of the rate.)
 */
import {
  createInbox,
  type Msg,
  type NatsConnection,
  headers as newHeaders,
  type Subscription,
} from '@nats-io/nats-core';
import { type Clock, Unavailable } from '@nephos/service';

export interface Published {
  /** The message's sequence in its stream; that of the first one for a duplicate. */
  readonly streamSequence: number;
  readonly duplicate: boolean;
}

interface InFlight {
  readonly resolve: (published: Published) => void;
  readonly reject: (error: Error) => void;
  readonly sentAt: number;
}

/** How long an acknowledgement may take, in milliseconds. */
const patienceMs = 5_000;

export class Publisher implements Disposable {
  readonly #connection: NatsConnection;
  readonly #clock: Clock;
  readonly #inbox = createInbox();
  readonly #inFlight = new Map<string, InFlight>();
  readonly #replies: Subscription;
  readonly #sweeper: Disposable;
  readonly #onNoStream: () => void;
  /** Where JSON Schemas of events are served; see EncodeOptions. */
  readonly schemaBase: string;
  #next = 0;
  #closed = false;

  /** `onNoStream` is called when no stream takes a message. */
  constructor(connection: NatsConnection, clock: Clock, onNoStream: () => void, schemaBase = '') {
    this.schemaBase = schemaBase;
    this.#onNoStream = onNoStream;
    this.#connection = connection;
    this.#clock = clock;
    this.#replies = connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (!error) this.#settle(message);
      },
    });
    this.#sweeper = clock.every(1_000, () => this.#sweep());
  }

  /** Largest message that the broker takes, in bytes. */
  get maxPayload(): number {
    return this.#connection.info?.max_payload ?? 1024 * 1024;
  }

  /** Resolves once the broker has stored it. Throws `Unavailable`: stored or not, nobody knows. */
  publish(
    subject: string,
    body: string,
    messageId: string,
    headers: Record<string, string> = {},
  ): Promise<Published> {
    const key = String((this.#next += 1));
    const all = newHeaders();
    all.set('Nats-Msg-Id', messageId);
    for (const [name, value] of Object.entries(headers)) all.set(name, value);
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Unavailable('SERVICE_UNAVAILABLE', 'not connected to the broker'));
      this.#inFlight.set(key, { resolve, reject, sentAt: this.#clock.monotonic() });
      try {
        // A pooled buffer: encoding into one of its own costs three times as much.
        const bytes = Buffer.from(body);
        this.#connection.publish(subject, bytes, { headers: all, reply: `${this.#inbox}.${key}` });
      } catch (cause) {
        this.#inFlight.delete(key);
        reject(
          new Unavailable('SERVICE_UNAVAILABLE', 'the broker connection refuses the message', { cause }),
        );
      }
    });
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sweeper[Symbol.dispose]();
    if (!this.#connection.isClosed()) this.#replies.unsubscribe();
    for (const key of this.#inFlight.keys()) this.#fail(key, 'the connection to the broker was lost');
  }

  #settle(message: Msg): void {
    const key = message.subject.slice(this.#inbox.length + 1);
    const waiting = this.#inFlight.get(key);
    if (!waiting) return;
    if (message.headers?.code === 503) {
      this.#fail(key, 'no stream takes the message');
      return this.#onNoStream();
    }
    const ack = JSON.parse(message.string()) as {
      seq?: number;
      duplicate?: boolean;
      error?: { description: string };
    };
    // Sequence 0: a repeat of what a cluster has taken in and not agreed upon, and may never agree upon.
    if (ack.error || ack.seq === undefined || ack.seq === 0) {
      return this.#fail(key, `the broker refused the message: ${ack.error?.description ?? 'no sequence'}`);
    }
    this.#inFlight.delete(key);
    waiting.resolve({ streamSequence: ack.seq, duplicate: ack.duplicate === true });
  }

  #fail(key: string, message: string): void {
    this.#inFlight.get(key)?.reject(new Unavailable('SERVICE_UNAVAILABLE', message));
    this.#inFlight.delete(key);
  }

  #sweep(): void {
    const oldest = this.#clock.monotonic() - patienceMs;
    for (const [key, { sentAt }] of this.#inFlight) {
      if (sentAt > oldest) return;
      this.#fail(key, 'the broker did not acknowledge the message in time');
    }
  }
}
