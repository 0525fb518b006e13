/** Webhooks as stored, and the public message they become. Owner: the webhook service, the only writer. */
import { defineEntity, type EntityCollection } from '@nephos/events';
import {
  Webhook_ContentMode as ContentMode,
  Webhook_State as State,
  Webhook,
} from '@nephos/proto/nephos/webhooks/v1/webhook';
import { durationOf, headerMessage } from '@nephos/service';
import { defineCollection } from '@nephos/store';
import { endpointOf } from '../domain/target.ts';
import type { WebhookRecord } from '../domain/webhook.ts';

export type Webhooks = EntityCollection<WebhookRecord, Webhook>;

const contentModes = { structured: ContentMode.STRUCTURED, binary: ContentMode.BINARY } as const;

export const webhookEntity = defineEntity<WebhookRecord, Webhook>({
  entity: 'webhook',
  collection: 'webhooks',
  message: Webhook,
  store: defineCollection<WebhookRecord>({
    name: 'webhooks',
    schemaVersion: 1,
    indexes: {
      display_name: { fields: ['header.owner', 'header.zone', 'header.displayName'], unique: true },
      name: { fields: ['header.displayName'] },
      owner: { fields: ['header.owner'] },
      zone: { fields: ['header.zone'] },
    },
  }),
  toMessage: ({ value, eventSeq }) => ({
    header: headerMessage('webhooks', value.header, eventSeq),
    url: value.url,
    endpoint: endpointOf(new URL(value.url)),
    filter: { ...value.filter, verbs: [...value.filter.verbs] },
    contentMode: contentModes[value.contentMode],
    disabled: value.disabled,
    timeout: durationOf(value.timeoutMs),
    giveUpAfter: durationOf(value.giveUpAfterMs),
    state: stateOf(value),
    failure: value.failure && { since: new Date(value.failure.since), message: value.failure.message },
  }),
  place: ({ header }) => header,
});

function stateOf({ disabled, failure }: WebhookRecord): State {
  if (disabled) return State.DISABLED;
  return failure === undefined ? State.ACTIVE : State.FAILING;
}
