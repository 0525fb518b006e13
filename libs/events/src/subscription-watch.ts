/**
 * Looks after a running subscription: how far it is behind, whether it gets on, whether it is alone; as figures for
 * OpenTelemetry (README), as a check for health, and in the log.
 * Owner: the subscription. A subscription that gets nothing though something waits for it is made to ask anew; one
 * whose handler hangs can only be told of.
 */
import { type Clock, Unavailable } from '@nephos/service';
import { metrics, type ObservableResult } from '@opentelemetry/api';
import type { EventsLog } from './context.ts';
import type { Dispatcher } from './dispatcher.ts';

/** What the broker says of the consumer. */
export interface ConsumerLook {
  /** Messages that it has delivered to nobody yet. */
  readonly pending: number;
  /** Messages that it delivered since this process began to read, to whomever. */
  readonly delivered: number;
  /** Of these, those that came here; read a while later. */
  received(): number;
}

export interface WatchOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly log: EventsLog;
  readonly dispatcher: Dispatcher;
  /** Without progress for so long, though there is work, it counts as stopped. */
  readonly stallMs: number;
  /** Undefined while it is not reading, as without a connection. */
  readonly look: () => Promise<ConsumerLook | undefined>;
  /** Makes it ask the broker anew. */
  readonly restart: () => void;
}

const longestTickMs = 10_000;
/** What was delivered is here by then. */
const settleMs = 1_000;

export class SubscriptionWatch implements Disposable {
  readonly #options: WatchOptions;
  readonly #resources = new DisposableStack();
  readonly #ended = new AbortController();
  #pending = 0;
  #progress = 0;
  #progressAt: number;
  #stalled: string | undefined;
  #elsewhere = 0;
  #rivals = false;
  #ticking = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#progressAt = options.clock.monotonic();
    const tickMs = Math.min(longestTickMs, options.stallMs / 2);
    this.#resources.use(options.clock.every(tickMs, () => void this.#tick()));
    this.#resources.defer(() => this.#ended.abort());
    this.#observe();
  }

  /** Messages that no handler has finished: at the broker, and here. */
  get lag(): number {
    return this.#pending + this.#options.dispatcher.held + this.#options.dispatcher.parked;
  }

  /** Another process reads under the same name. */
  get hasRivals(): boolean {
    return this.#rivals;
  }

  /** Throws `Unavailable` while it makes no progress though there is work. */
  check(): void {
    if (this.#stalled === undefined) return;
    throw new Unavailable('SERVICE_UNAVAILABLE', `subscription ${this.#options.name}: ${this.#stalled}`);
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }

  async #tick(): Promise<void> {
    if (this.#ticking) return;
    this.#ticking = true;
    try {
      const look = await this.#options.look();
      this.#pending = look?.pending ?? this.#pending;
      this.#judgeProgress();
      if (look) await this.#judgeRivals(look);
    } catch (error) {
      this.#options.log.debug(
        { error, subscription: this.#options.name },
        'a subscription was not looked at',
      );
    } finally {
      this.#ticking = false;
    }
  }

  #judgeProgress(): void {
    const { clock, dispatcher, log, name, stallMs, restart } = this.#options;
    const now = clock.monotonic();
    const moved = dispatcher.progress !== this.#progress || this.lag === 0;
    this.#progress = dispatcher.progress;
    if (moved) {
      this.#progressAt = now;
      if (this.#stalled !== undefined) log.info({ subscription: name }, 'the subscription gets on again');
      this.#stalled = undefined;
      return;
    }
    if (now - this.#progressAt < stallMs) return;
    const isWaiting = dispatcher.held === 0 && dispatcher.parked === 0;
    const seconds = Math.round((now - this.#progressAt) / 1_000);
    const why = isWaiting
      ? `nothing came for ${seconds} s though ${this.#pending} events wait`
      : `no handler ended for ${seconds} s`;
    if (this.#stalled === undefined) log.error({ subscription: name, why }, 'the subscription has stopped');
    this.#stalled = why;
    if (isWaiting) restart();
  }

  /** What the broker delivered and did not come here went to another process: twice in a row is no accident. */
  async #judgeRivals(look: ConsumerLook): Promise<void> {
    const { clock, log, name } = this.#options;
    await clock.sleep(settleMs, this.#ended.signal);
    const elsewhere = look.delivered - look.received();
    const grows = elsewhere > this.#elsewhere && this.#elsewhere > 0;
    if (grows && !this.#rivals) {
      log.error({ subscription: name, elsewhere }, 'another process reads this subscription: order is lost');
    }
    this.#rivals = grows || (this.#rivals && elsewhere >= this.#elsewhere && elsewhere > 0);
    this.#elsewhere = elsewhere;
  }

  #observe(): void {
    const { name, dispatcher, clock } = this.#options;
    const attributes = { subscription: name };
    const meter = metrics.getMeter('@nephos/events');
    const gauges: Record<string, () => number> = {
      lag: () => this.lag,
      'oldest.age': () => ageOf(clock, dispatcher.oldest),
      stalled: () => Number(this.#stalled !== undefined),
      rivals: () => Number(this.#rivals),
    };
    for (const [key, read] of Object.entries(gauges)) {
      const gauge = meter.createObservableGauge(`nephos.events.subscription.${key}`);
      this.#attach(gauge, (result) => result.observe(read(), attributes));
    }
    const counter = meter.createObservableCounter('nephos.events.subscription.events');
    this.#attach(counter, (result) => {
      for (const [outcome, count] of Object.entries(dispatcher.counts)) {
        result.observe(count, { ...attributes, outcome });
      }
    });
  }

  #attach(instrument: Observed, callback: (result: ObservableResult) => void): void {
    instrument.addCallback(callback);
    this.#resources.defer(() => instrument.removeCallback(callback));
  }
}

interface Observed {
  addCallback(callback: (result: ObservableResult) => void): void;
  removeCallback(callback: (result: ObservableResult) => void): void;
}

/** In seconds, between the wall clocks of the writer and of this process. */
function ageOf(clock: Clock, time: Date | undefined): number {
  return time === undefined ? 0 : Math.max(0, clock.now().getTime() - time.getTime()) / 1_000;
}
