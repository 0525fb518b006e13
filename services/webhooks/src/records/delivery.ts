/**
 * Deliveries as stored, and the message they become. They are the log and the queue in one: `pending` ones are sent.
 * An event has one delivery a webhook, by a unique index, so that an event that comes twice is not sent twice.
 */
import {
  WebhookDelivery_State as State,
  type WebhookDelivery,
} from '@nephos/proto/nephos/webhooks/v1/webhook';
import { durationOf } from '@nephos/service';
import { type Collection, defineCollection, type Stored } from '@nephos/store';
import type { DeliveryRecord } from '../domain/webhook.ts';

export type Deliveries = Collection<DeliveryRecord>;

export const deliveryIndexes = {
  event: { fields: ['webhook', 'eventId'], unique: true },
  webhook: { fields: ['webhook'] },
  queue: { fields: ['webhook', 'state'] },
  settled: { fields: ['state', 'settledTime'] },
  overdue: { fields: ['state', 'giveUpTime'] },
} as const;

export const deliveryCollection = defineCollection<DeliveryRecord>({
  name: 'deliveries',
  schemaVersion: 1,
  indexes: deliveryIndexes,
});

const states = { pending: State.PENDING, delivered: State.DELIVERED, dead: State.DEAD } as const;

/** `whole`: with the event itself. */
export function deliveryMessage({ id, value }: Stored<DeliveryRecord>, whole = false): WebhookDelivery {
  return {
    name: `webhooks/${value.webhook}/deliveries/${id}`,
    deliveryId: id,
    eventId: value.eventId,
    eventType: value.eventType,
    subject: value.subject,
    state: states[value.state],
    attemptCount: value.attemptCount,
    attempts: value.attempts.map(({ time, durationMs, status, error }) => ({
      time: new Date(time),
      duration: durationOf(durationMs),
      httpStatus: status,
      error,
    })),
    nextAttemptTime: value.nextAttemptTime === undefined ? undefined : new Date(value.nextAttemptTime),
    createTime: new Date(value.createTime),
    event: whole ? value.event : '',
  };
}
