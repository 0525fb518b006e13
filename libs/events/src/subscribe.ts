/**
 * A durable subscription: each event of the entities asked for reaches the handler at least once, in order per
 * entity; a repeat reaches it only after a crash of this process (its `sequence` tells).
 * Owner: one process a name at a time. A crash leaves the position at the broker.
 */
import { Invalid, OutOfRange, Unavailable } from '@nephos/service';
import { Acknowledgements, quietly } from './acknowledgements.ts';
import type { Bus, Session } from './bus.ts';
import type { JsonObject } from './changes.ts';
import { decodeEvent, type EntityEvent } from './cloudevent.ts';
import { putDeadLetter } from './dead-letter.ts';
import { Dispatcher, type HandlerCall } from './dispatcher.ts';
import { ackWaitMs, DurableConsumer, type Incoming, maxHeld } from './durable-consumer.ts';
import type { Delivery } from './entity-lane.ts';
import type { ParkedMessages } from './parking.ts';
import { RedriveListener } from './redrive-listener.ts';
import { isStreamMissing } from './streams.ts';
import type { EventHandler, SubscribeOptions, Subscription, SubscriptionCounts } from './subscription.ts';
import { SubscriptionWatch } from './subscription-watch.ts';
import { typed } from './typed.ts';

/** How long handlers may take to end when the subscription stops, unless it is said. */
const stopGraceMs = 5_000;
const retryMs = 250;

/** Starts a subscription; it waits for the broker in the background. Throws `Invalid` on a bad name. */
export function subscribe<M = JsonObject>(
  bus: Bus,
  options: SubscribeOptions<M>,
  handler: EventHandler<M>,
): Subscription {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(options.name)) {
    throw new Invalid(
      'FIELD_INVALID',
      `subscription "${options.name}" needs a name of A-Z, a-z, 0-9, - and _`,
    );
  }
  return new DurableSubscription(bus, options, handler);
}

class DurableSubscription<M> implements Subscription {
  readonly started: Promise<void>;
  readonly #bus: Bus;
  readonly #name: string;
  /** Nothing more is taken. */
  readonly #stopping = new AbortController();
  /** Nothing more is waited for. */
  readonly #ending = new AbortController();
  readonly #consumer: DurableConsumer;
  readonly #dispatcher: Dispatcher;
  readonly #acknowledgements = new Acknowledgements();
  readonly #watch: SubscriptionWatch;
  readonly #redrives: RedriveListener;
  readonly #keeper: Disposable;
  readonly #ended: Promise<void>;
  readonly #hasStarted = Promise.withResolvers<void>();
  #reading: { readonly session: Session; readonly stop: AbortController } | undefined;
  #makingRoom = false;

  constructor(bus: Bus, options: SubscribeOptions<M>, handler: EventHandler<M>) {
    const { name, tree = 'entities', filter = {}, from = 'all', message } = options;
    this.#bus = bus;
    this.#name = name;
    this.started = this.#hasStarted.promise;
    this.started.catch(() => undefined);
    const dispatch = {
      name,
      tree,
      concurrency: options.concurrency ?? 16,
      attempts: options.attempts ?? 8,
      backoffMs: options.backoffMs ?? 100,
      timeoutMs: options.timeoutMs,
      parked: this.#parkedMessages(),
      handle: (event: EntityEvent, call: HandlerCall) => handler(typed(event, message), call),
    };
    this.#dispatcher = new Dispatcher(bus, dispatch, this.#ending.signal);
    this.#consumer = new DurableConsumer(
      { name, tree, filter, from, forgetAfterMs: options.forgetAfterMs },
      { receive: (incoming) => this.#receive(incoming), room: () => this.#room() },
    );
    const { clock, log } = bus;
    this.#watch = new SubscriptionWatch({
      ...{ name, clock, log, dispatcher: this.#dispatcher, stallMs: options.stallMs ?? 60_000 },
      look: async () => this.#reading && (await this.#consumer.look(this.#reading.session)),
      restart: () => this.#reading?.stop.abort(),
    });
    this.#redrives = new RedriveListener(tree, name, (delivery) => this.#dispatcher.receive(delivery));
    this.#keeper = bus.clock.every(ackWaitMs / 3, () => {
      this.#dispatcher.keepHeld();
      void this.#makeRoom(this.#dispatcher.parked);
    });
    this.#ended = this.#run();
  }

  get counts(): SubscriptionCounts {
    return this.#dispatcher.counts;
  }

  get lag(): number {
    return this.#watch.lag;
  }

  get hasRivals(): boolean {
    return this.#watch.hasRivals;
  }

  check(): void {
    this.#watch.check();
  }

  async remove(withinMs = 10_000): Promise<void> {
    await this[Symbol.asyncDispose]();
    const text = `the broker did not answer: the position of ${this.#name} stays`;
    const late = new AbortController();
    const error = new Unavailable('SERVICE_UNAVAILABLE', text);
    using _ = this.#bus.clock.timer(withinMs, () => late.abort(error));
    const isLate = new Promise<never>((_, reject) => {
      late.signal.addEventListener('abort', () => reject(error), { once: true });
    });
    await Promise.race([
      this.#bus.ready(late.signal).then((session) => this.#consumer.remove(session)),
      isLate,
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async stop(graceMs = stopGraceMs): Promise<void> {
    this.#stopping.abort(new Error(`subscription ${this.#name} stops`));
    await this.#ended;
    const grace = this.#bus.clock.timer(graceMs, () => this.#ending.abort(new Error('out of time')));
    await this.#dispatcher.idle();
    grace[Symbol.dispose]();
    this.#acknowledgements.send();
    this.#ending.abort(new Error(`subscription ${this.#name} stopped`));
    this.#keeper[Symbol.dispose]();
    this.#watch[Symbol.dispose]();
    this.#hasStarted.reject(this.#ending.signal.reason);
    await this.#bus.session?.connection.flush().catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#attend(await this.#bus.ready(signal));
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof OutOfRange) {
          this.#bus.log.error({ error, subscription: this.#name }, 'the subscription cannot begin');
          return this.#hasStarted.reject(error);
        }
        if (isStreamMissing(error) && this.#bus.session) this.#bus.renew(this.#bus.session);
        this.#bus.log.warn({ error, subscription: this.#name }, 'the subscription begins anew');
        await this.#bus.clock.sleep(retryMs, signal).catch(() => undefined);
      }
    }
  }

  /** Until the session ends, the consumer is lost, or we stop. */
  async #attend(session: Session): Promise<void> {
    const stop = new AbortController();
    const signal = AbortSignal.any([session.signal, this.#stopping.signal, stop.signal]);
    if (await this.#consumer.isNewStream(session)) this.#dispatcher.newStream();
    const info = await this.#consumer.ensure(session, this.#dispatcher.position);
    this.#dispatcher.beginAfter(info.ack_floor.stream_seq);
    await this.#consumer.catchUp(session, info);
    using _redrives = this.#redrives.listen(session);
    this.#hasStarted.resolve();
    this.#reading = { session, stop };
    try {
      await this.#consumer.pull(session, info, signal);
    } finally {
      this.#reading = undefined;
    }
  }

  async #room(): Promise<void> {
    while (this.#dispatcher.held > maxHeld) await this.#bus.clock.sleep(5, this.#stopping.signal);
  }

  #parkedMessages(): ParkedMessages {
    return {
      read: async (place) => {
        const incoming = await this.#consumer.read(await this.#bus.ready(this.#ending.signal), place);
        return incoming && deliveryOf({ ...incoming, kind: 'event' }, this.#acknowledgements);
      },
      working: (place) =>
        quietly(() => this.#reading && this.#consumer.working(this.#reading.session, place)),
      changed: (parked) => void this.#makeRoom(parked),
    };
  }

  async #makeRoom(parked: number): Promise<void> {
    if (this.#makingRoom || !this.#reading) return;
    this.#makingRoom = true;
    try {
      await this.#consumer.makeRoom(this.#reading.session, parked);
    } catch (error) {
      this.#bus.log.debug({ error, subscription: this.#name }, 'the broker gave no more room yet');
    } finally {
      this.#makingRoom = false;
    }
  }

  #receive(incoming: Incoming): void {
    let delivery: Delivery;
    try {
      delivery = deliveryOf(incoming, this.#acknowledgements);
    } catch (error) {
      const { message, place, kind, ack } = incoming;
      if (kind === 'event') void this.#setAside(message.subject, place, message.string(), ack, error);
      return;
    }
    this.#dispatcher.receive(delivery);
  }

  /** What is no event at all: nobody could handle it. It comes again until this has worked. */
  async #setAside(subject: string, streamSequence: number, body: string, ack: () => void, error: unknown) {
    this.#bus.log.error(
      { error, subject, streamSequence },
      'a message is not an event: it is now a dead letter',
    );
    const letter = {
      subscription: this.#name,
      entity: 'unknown',
      id: subject,
      subject,
      body,
      streamSequence,
    };
    try {
      const session = await this.#bus.ready(this.#ending.signal);
      await putDeadLetter(session, { ...letter, attempts: 0, reason: String(error) });
      quietly(ack);
    } catch (unavailable) {
      this.#bus.log.warn({ error: unavailable, subject }, 'a dead letter could not be written yet');
    }
  }
}

/** Throws `Invalid` on what is no event. */
function deliveryOf(incoming: Incoming, acknowledgements: Acknowledgements): Delivery {
  const { message, place, kind, ack, working } = incoming;
  const body = message.string();
  const isState = kind === 'state';
  const event = decodeEvent(message.subject, body);
  return {
    event: isState ? { ...event, firstSequence: 1, resync: true } : event,
    body,
    natsSubject: message.subject,
    streamSequence: place,
    ack: () => acknowledgements.add(ack),
    working: () => quietly(working),
    heldAt: undefined,
  };
}
