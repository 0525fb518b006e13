/** WebhookService: the log of deliveries, and what a person may do with it. */
import type { WebhookServiceDefinition } from '@nephos/proto/nephos/webhooks/v1/webhook';
import { findResource } from '@nephos/resources';
import { fieldInvalid, type Implementation, NotFound, newUid, Precondition } from '@nephos/service';
import { enumField, type ListFields, listPage } from '@nephos/store';
import type { DeliveryLog, StoredDelivery } from '../adapters/delivery-log.ts';
import { type LineParts, send } from '../adapters/line.ts';
import { again, attempted } from '../domain/webhook.ts';
import { deliveryIndexes, deliveryMessage } from '../records/delivery.ts';

const fields: ListFields = {
  webhook: { path: 'webhook', type: 'string' },
  state: enumField('state', ['pending', 'delivered', 'dead']),
  entity: { path: 'entity', type: 'string' },
  subject: { path: 'subject', type: 'string' },
};

const nameForm = /^(webhooks\/[^/]+)\/deliveries\/([0-9a-f-]{36})$/;

type Methods =
  | 'pingWebhook'
  | 'listWebhookDeliveries'
  | 'getWebhookDelivery'
  | 'resendWebhookDeliveries'
  | 'dropWebhookDeliveries';

export type DeliveriesApiParts = Pick<LineParts, 'webhooks' | 'log' | 'sender' | 'clock'>;

export function deliveriesApi(
  parts: DeliveriesApiParts,
): Pick<Implementation<typeof WebhookServiceDefinition>, Methods> {
  const { webhooks, log, clock } = parts;
  return {
    pingWebhook: async ({ name }, call) => {
      const { value: webhook } = await findResource(webhooks, name);
      const uid = newUid();
      const event = {
        id: `webhook/${webhook.header.uid}/ping/${uid}`,
        entity: 'webhook',
        verb: 'ping',
        subject: name,
      };
      // Never kept as pending: the bridge must not send it a second time.
      const { giveUpTime: _once, ...delivery } = log.draft(
        webhook,
        { ...event, sequence: 0 },
        pingEvent(event, clock.now()),
      );
      const { retryAfterMs: _asked, ...attempt } = await send(
        parts,
        webhook,
        { id: uid, value: delivery },
        call.signal,
      );
      return deliveryMessage(await log.deliveries.insert(uid, attempted(delivery, attempt, 0)), true);
    },
    listWebhookDeliveries: async ({ parent, filter, pageSize, pageToken }) => {
      const { id } = await findResource(webhooks, parent, 'parent');
      const own = `webhook = "${id}"`;
      const request = { filter: filter === '' ? own : `${own} AND ${filter}`, pageSize, pageToken };
      const { items, nextPageToken } = await listPage(log.deliveries, request, {
        indexes: deliveryIndexes,
        fields,
      });
      return { deliveries: items.map((stored) => deliveryMessage(stored)), nextPageToken };
    },
    getWebhookDelivery: async ({ name }) => deliveryMessage(await findDelivery(log, name), true),
    resendWebhookDeliveries: async ({ name }, call) => {
      const { webhook, deliveries } = await meant(parts, name);
      call.detach();
      let count = 0;
      for await (const { id } of deliveries) {
        const changed = await log.change(id, (each) => again(each, clock.now(), webhook.giveUpAfterMs));
        if (changed !== undefined) count += 1;
      }
      return { count: BigInt(count) };
    },
    dropWebhookDeliveries: async ({ name }, call) => {
      const { deliveries } = await meant(parts, name);
      call.detach();
      let count = 0;
      for await (const { id, value } of deliveries) {
        if (value.state === 'pending') throw stillWaits(name);
        if (await log.drop(id)) count += 1;
      }
      return { count: BigInt(count) };
    },
  };
}

async function findDelivery(log: DeliveryLog, name: string): Promise<StoredDelivery> {
  const [, webhook, id] = nameForm.exec(name) ?? [];
  if (webhook === undefined || id === undefined)
    throw fieldInvalid('name', 'must be webhooks/{webhook}/deliveries/{id}', name === '');
  const stored = await log.deliveries.get(id);
  if (stored === undefined || `webhooks/${stored.value.webhook}` !== webhook)
    throw new NotFound('RESOURCE_NOT_FOUND', `${name} is not there`, { metadata: { resource: name } });
  return stored;
}

/** One delivery, or all dead ones of a webhook. */
async function meant({ webhooks, log }: DeliveriesApiParts, name: string) {
  if (nameForm.test(name)) {
    const delivery = await findDelivery(log, name);
    const { value } = await findResource(webhooks, `webhooks/${delivery.value.webhook}`);
    return { webhook: value, deliveries: [delivery] };
  }
  const { id, value } = await findResource(webhooks, name);
  return { webhook: value, deliveries: log.all(id, 'dead') };
}

function pingEvent({ id, subject }: { readonly id: string; readonly subject: string }, now: Date): string {
  return JSON.stringify({
    specversion: '1.0',
    id,
    type: 'dev.nephos.webhook.v1.ping',
    source: '/nephos/webhooks',
    subject,
    time: now.toISOString(),
    datacontenttype: 'application/json',
    data: {},
  });
}

function stillWaits(name: string): Precondition {
  const description = `${name} waits to be sent: disable the webhook, or let it be given up first`;
  return new Precondition('STATE_FORBIDS', description, {
    preconditions: [{ type: 'STATE_FORBIDS', subject: name, description }],
  });
}
