/**
 * Publishes to JetStream with acknowledgements, many in flight over one inbox.
 * One per connection period: when the connection is lost all that is in flight is rejected, and whether the
 * broker stored it is unknown; the caller repeats it with the same message id. (The client library's own
 * publish serves the same, at a third of the rate.)
 */
import {
  createInbox,
  type Msg,
  type MsgHdrs,
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
  /** Its place in the list of those in flight, and its number: a late answer to one before it is not its own. */
  readonly key: string;
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
  /** Not a Map: its former tables lead to the newer ones, and what passed through it stays alive for long. */
  readonly #inFlight: (InFlight | undefined)[] = [];
  readonly #freePlaces: number[] = [];
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
    this.#sweeper = clock.every(1_000, () => {
      this.#failAll('the broker did not acknowledge the message in time', clock.monotonic() - patienceMs);
    });
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
    headers?: Readonly<Record<string, string>>,
  ): Promise<Published> {
    const all = headersOf(messageId, headers);
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(unavailable('not connected to the broker'));
      const place = this.#freePlaces.pop() ?? this.#inFlight.length;
      const key = `${place}-${(this.#next += 1)}`;
      this.#inFlight[place] = { key, resolve, reject, sentAt: this.#clock.monotonic() };
      try {
        // A pooled buffer: encoding into one of its own costs three times as much.
        const bytes = Buffer.from(body);
        this.#connection.publish(subject, bytes, { headers: all, reply: `${this.#inbox}.${key}` });
      } catch (cause) {
        this.#take(key);
        reject(unavailable('the broker connection refuses the message', cause));
      }
    });
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sweeper[Symbol.dispose]();
    if (!this.#connection.isClosed()) this.#replies.unsubscribe();
    this.#failAll('the connection to the broker was lost');
  }

  #settle(message: Msg): void {
    const waiting = this.#take(message.subject.slice(this.#inbox.length + 1));
    if (!waiting) return;
    if (message.headers?.code === 503) {
      waiting.reject(unavailable('no stream takes the message'));
      return this.#onNoStream();
    }
    const ack = JSON.parse(message.string()) as {
      seq?: number;
      duplicate?: boolean;
      error?: { description: string };
    };
    // Sequence 0: a repeat of what a cluster has taken in and not agreed upon, and may never agree upon.
    if (ack.error || ack.seq === undefined || ack.seq === 0) {
      const why = ack.error?.description ?? 'no sequence';
      return waiting.reject(unavailable(`the broker refused the message: ${why}`));
    }
    waiting.resolve({ streamSequence: ack.seq, duplicate: ack.duplicate === true });
  }

  /** Takes off what is in flight under this key, if it still is. */
  #take(key: string): InFlight | undefined {
    const place = Number.parseInt(key, 10);
    const waiting = this.#inFlight[place];
    if (waiting?.key !== key) return undefined;
    this.#inFlight[place] = undefined;
    this.#freePlaces.push(place);
    return waiting;
  }

  #failAll(message: string, sentUpTo = Number.POSITIVE_INFINITY): void {
    for (const waiting of this.#inFlight)
      if (waiting && waiting.sentAt <= sentUpTo) this.#take(waiting.key)?.reject(unavailable(message));
  }
}

function unavailable(message: string, cause?: unknown): Unavailable {
  return new Unavailable('SERVICE_UNAVAILABLE', message, cause === undefined ? {} : { cause });
}

const messageIdHeader = 'Nats-Msg-Id';

/** What most messages have: one header, of one line. The library's own looks at each character three times. */
class MessageIdAlone {
  readonly #messageId: string;

  constructor(messageId: string) {
    this.#messageId = messageId;
  }

  encode(): Uint8Array {
    return Buffer.from(`NATS/1.0\r\n${messageIdHeader}: ${this.#messageId}\r\n\r\n`);
  }
}

const oneLine = /^[\x21-\x7e]+$/;

function headersOf(messageId: string, more: Readonly<Record<string, string>> | undefined): MsgHdrs {
  // All that the library asks of headers that are sent is their encoding.
  if (more === undefined && oneLine.test(messageId))
    return new MessageIdAlone(messageId) as unknown as MsgHdrs;
  const all = newHeaders();
  all.set(messageIdHeader, messageId);
  for (const [name, value] of Object.entries(more ?? {})) all.set(name, value);
  return all;
}
