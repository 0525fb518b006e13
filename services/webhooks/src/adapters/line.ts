/**
 * One webhook's way from the events to its endpoint: a durable subscription that writes each event into the delivery
 * log, and the queue that sends from there. Owner: the bridge, on one instance at a time. An event is acknowledged at
 * the broker once it is in the log; a crash between the two finds it there.
 */
import { type Bus, type EntityEvent, type StartFrom, type Subscription, subscribe } from '@nephos/events';
import { type Clock, type Logger, NotFound, touched } from '@nephos/service';
import type { Stored } from '@nephos/store';
import { httpMessage } from '../domain/envelope.ts';
import { pauseMs } from '../domain/retry.ts';
import { signatureHeaders } from '../domain/signature.ts';
import {
  type AttemptRecord,
  attempted,
  failureText,
  gone,
  succeeded,
  type WebhookRecord,
} from '../domain/webhook.ts';
import type { Webhooks } from '../records/webhook.ts';
import type { DeliveryLog, StoredDelivery } from './delivery-log.ts';
import { startOf, subscriptionName } from './position.ts';
import { Queue, window } from './queue.ts';
import type { Attempt, Sender } from './sender.ts';

const retryMs = 1000;

export interface LineParts {
  readonly bus: Bus;
  readonly webhooks: Webhooks;
  readonly log: DeliveryLog;
  readonly sender: Sender;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onAttempt: (attempt: AttemptRecord) => void;
}

export class Line implements AsyncDisposable {
  readonly #parts: LineParts;
  readonly #queue: Queue;
  readonly #beginning: Promise<void>;
  #subscription: Subscription | undefined;
  readonly #stopping = new AbortController();
  /** As it is now: what it is sent with changes without a new subscription. */
  webhook: WebhookRecord;

  constructor(webhook: WebhookRecord, parts: LineParts) {
    this.webhook = webhook;
    this.#parts = parts;
    this.#queue = new Queue(
      parts.clock,
      (delivery) => this.#tryOnce(delivery),
      (error) => parts.logger.error({ err: error, webhook: this.#uid }, 'an attempt could not be recorded'),
    );
    this.#beginning = this.#begin();
  }

  /** What of the webhook its subscription is made of. */
  static keyOf({ header, filter }: WebhookRecord): string {
    return JSON.stringify([filter.owner || header.owner, filter.zone, filter.entity]);
  }

  /** Takes what waits in the log: from before a restart, or put there by a person. */
  async refill(): Promise<void> {
    const pending = await this.#parts.log.pending(this.#uid, window);
    for (const delivery of pending) this.#queue.add(withoutEvent(delivery));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new Error('the webhook stops'));
    await this.#beginning;
    await this.#subscription?.[Symbol.asyncDispose]();
    await this.#queue[Symbol.asyncDispose]();
  }

  get #uid(): string {
    return this.webhook.header.uid;
  }

  /** Subscribes once the broker is there; what is in the log is sent without it. */
  async #begin(): Promise<void> {
    const { bus, clock, logger } = this.#parts;
    const { signal } = this.#stopping;
    while (!signal.aborted && this.#subscription === undefined) {
      try {
        // What waits already comes before what is new.
        await this.refill();
        this.#subscription = this.#subscribe(await startOf(await bus.ready(signal), this.webhook.fromPlace));
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ err: error, webhook: this.#uid }, 'a webhook could not subscribe yet');
        await clock.sleep(retryMs, signal).catch(() => undefined);
      }
    }
  }

  #subscribe(from: StartFrom): Subscription {
    const { header, filter } = this.webhook;
    const owner = filter.owner || header.owner;
    return subscribe(
      this.#parts.bus,
      {
        name: subscriptionName(header.uid),
        filter: {
          ...(owner !== '' && { owner }),
          ...(filter.zone !== '' && { zone: filter.zone }),
          ...(filter.entity !== '' && { entity: filter.entity }),
        },
        from,
      },
      async (event, { body, signal }) => await this.#take(event, body, signal),
    );
  }

  async #take(event: EntityEvent, body: string, signal: AbortSignal): Promise<void> {
    const { verbs } = this.webhook.filter;
    if (verbs.length > 0 && !verbs.includes(event.verb)) return;
    await this.#queue.room(AbortSignal.any([signal, this.#stopping.signal]));
    const { log } = this.#parts;
    const delivery = await log.add(log.draft(this.webhook, event, body));
    if (delivery !== undefined) this.#queue.add(withoutEvent(delivery));
  }

  async #tryOnce({ id }: StoredDelivery): Promise<StoredDelivery | undefined> {
    // Read again: it may be dropped by now, or settled by whoever had the lease before.
    const delivery = await this.#parts.log.deliveries.get(id);
    if (delivery?.value.state !== 'pending') return undefined;
    const { retryAfterMs, ...attempt } = await send(
      this.#parts,
      this.webhook,
      delivery,
      this.#stopping.signal,
    );
    // Cut off by our own stop: that says nothing about the endpoint.
    if (attempt.status === 0 && this.#stopping.signal.aborted) return undefined;
    this.#parts.onAttempt(attempt);
    // How an event about a webhook fares is no news about a webhook: each would be the cause of the next.
    if (delivery.value.entity !== 'webhook' || attempt.status === gone) await this.#judge(attempt);
    const pause = pauseMs({
      attempts: delivery.value.attemptCount + 1,
      retryAfterMs,
      random: Math.random(),
    });
    const after = await this.#parts.log.change(id, (current) => attempted(current, attempt, pause));
    return after && withoutEvent(after);
  }

  /** Says on the webhook itself that its endpoint fails, or does so no more; only where that changes. */
  async #judge(attempt: AttemptRecord): Promise<void> {
    const well = succeeded(attempt);
    if (
      well
        ? this.webhook.failure === undefined
        : this.webhook.failure !== undefined && attempt.status !== gone
    )
      return;
    const { webhooks, clock, logger } = this.#parts;
    try {
      const stored: Stored<WebhookRecord> = await webhooks.modify(this.#uid, (current) => {
        const { failure, ...rest } = current;
        const header = touched(current.header, clock);
        if (well) return failure === undefined ? undefined : { ...rest, header };
        const since = failure?.since ?? attempt.time;
        const disabled = current.disabled || attempt.status === gone;
        return { ...rest, header, disabled, failure: { since, message: failureText(attempt) } };
      });
      this.webhook = stored.value;
    } catch (error) {
      if (error instanceof NotFound) return;
      logger.warn({ err: error, webhook: this.#uid }, 'how an endpoint fares could not be recorded');
    }
  }
}

/** As the queue holds it: events may be large, and many wait. */
function withoutEvent(delivery: StoredDelivery): StoredDelivery {
  return { ...delivery, value: { ...delivery.value, event: '' } };
}

/** One attempt at a delivery, signed with what is valid now. */
export async function send(
  { sender, clock }: Pick<LineParts, 'sender' | 'clock'>,
  webhook: WebhookRecord,
  { id, value }: Pick<StoredDelivery, 'id' | 'value'>,
  signal: AbortSignal,
): Promise<Attempt> {
  const { headers, body } = httpMessage(value.event, webhook.contentMode);
  const signature = signatureHeaders({ id, at: clock.now(), body }, webhook.secrets);
  return await sender.send({
    url: new URL(webhook.url),
    headers: { ...headers, ...signature },
    body,
    timeoutMs: webhook.timeoutMs,
    signal,
  });
}
