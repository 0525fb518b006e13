/**
 * The deliveries of all webhooks: each written before its event is acknowledged at the broker, and after each
 * attempt. Owner: the bridge, and the API where a person sends again or drops. A crash between an answer and its
 * record sends again: the endpoint sees the same `webhook-id`.
 */
import type { EntityEvent } from '@nephos/events';
import { AlreadyExists, type Clock, NotFound, newUid } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { DeliveryRecord, WebhookRecord } from '../domain/webhook.ts';
import type { Deliveries } from '../records/delivery.ts';

export type StoredDelivery = Stored<DeliveryRecord>;

/** What the log keeps of an event beside its text. */
export type EventFacts = Pick<EntityEvent, 'id' | 'entity' | 'verb' | 'subject' | 'sequence'>;

const pageSize = 500;

export class DeliveryLog {
  readonly deliveries: Deliveries;
  readonly #clock: Clock;

  constructor(deliveries: Deliveries, clock: Clock) {
    this.deliveries = deliveries;
    this.#clock = clock;
  }

  /** A delivery to be, not kept yet. `body` is the event as it was published. */
  draft(webhook: WebhookRecord, event: EventFacts, body: string): DeliveryRecord {
    const now = this.#clock.now();
    return {
      webhook: webhook.header.uid,
      eventId: event.id,
      eventType: `dev.nephos.${event.entity}.v1.${event.verb}`,
      entity: event.entity,
      subject: event.subject,
      sequence: event.sequence,
      event: body,
      state: 'pending',
      attemptCount: 0,
      attempts: [],
      createTime: now.toISOString(),
      nextAttemptTime: now.toISOString(),
      giveUpTime: new Date(now.getTime() + webhook.giveUpAfterMs).toISOString(),
    };
  }

  /** Undefined: this event has its delivery already. */
  async add(delivery: DeliveryRecord): Promise<StoredDelivery | undefined> {
    try {
      return await this.deliveries.insert(newUid(), delivery);
    } catch (error) {
      if (error instanceof AlreadyExists) return undefined;
      throw error;
    }
  }

  /** Undefined: somebody dropped it meanwhile. */
  async change(
    id: string,
    change: (delivery: DeliveryRecord) => DeliveryRecord,
  ): Promise<StoredDelivery | undefined> {
    try {
      return await this.deliveries.modify(id, ({ value }) => ({ value: change(value) }));
    } catch (error) {
      if (error instanceof NotFound) return undefined;
      throw error;
    }
  }

  /** Those that wait, oldest first; at most `limit`. */
  async pending(webhook: string, limit: number): Promise<StoredDelivery[]> {
    const { items } = await this.deliveries.find({ where: { webhook, state: 'pending' }, limit });
    return items;
  }

  /** All of a webhook in a state, or whatever their state, page by page. */
  async *all(webhook: string, state?: DeliveryRecord['state']): AsyncGenerator<StoredDelivery> {
    const where = state === undefined ? { webhook } : { webhook, state };
    let cursor: string | undefined;
    do {
      const page = await this.deliveries.find({
        where,
        limit: pageSize,
        ...(cursor !== undefined && { cursor }),
      });
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  async drop(id: string): Promise<boolean> {
    try {
      await this.deliveries.remove(id);
      return true;
    } catch (error) {
      if (error instanceof NotFound) return false;
      throw error;
    }
  }

  /** Removes what was settled, or should have been, before a time. */
  async forget(state: DeliveryRecord['state'], before: Date): Promise<void> {
    const path = state === 'pending' ? 'giveUpTime' : 'settledTime';
    for (;;) {
      const where = { state, [path]: { lt: before.toISOString() } };
      const { items } = await this.deliveries.find({ where, limit: pageSize });
      for (const { id } of items) await this.drop(id);
      if (items.length < pageSize) return;
    }
  }
}
