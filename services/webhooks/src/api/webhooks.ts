/** WebhookService: webhooks as resources. Their deliveries are in deliveries.ts. */
import type { Bus } from '@nephos/events';
import { updating } from '@nephos/idempotency';
import {
  type CreateWebhookResponse,
  RotateWebhookSecretRequest,
  type Webhook,
  WebhookServiceDefinition,
} from '@nephos/proto/nephos/webhooks/v1/webhook';
import { findResource, headerFields, type StandardParts, standardMethods } from '@nephos/resources';
import { checkEntityWord } from '@nephos/schemas';
import { Exhausted, type Implementation, Precondition, touched } from '@nephos/service';
import type { Stored } from '@nephos/store';
import type { DeliveryLog } from '../adapters/delivery-log.ts';
import { nextPlace } from '../adapters/position.ts';
import { checkSecret, newSecret, withNewSecret } from '../domain/signature.ts';
import type { TargetPolicy } from '../domain/target.ts';
import type { WebhookRecord } from '../domain/webhook.ts';
import type { Webhooks } from '../records/webhook.ts';
import { filterOf, overlapMs, settingsOf } from './fields.ts';

export interface WebhooksApiParts extends StandardParts {
  readonly bus: Bus;
  readonly webhooks: Webhooks;
  readonly log: DeliveryLog;
  readonly policy: TargetPolicy;
  /** How many webhooks there may be. */
  readonly limit: number;
}

type Methods =
  | 'createWebhook'
  | 'getWebhook'
  | 'listWebhooks'
  | 'updateWebhook'
  | 'deleteWebhook'
  | 'rotateWebhookSecret';

export function webhooksApi(
  parts: WebhooksApiParts,
): Pick<Implementation<typeof WebhookServiceDefinition>, Methods> {
  const { bus, webhooks, log, policy, limit } = parts;
  const withSecret = (stored: Stored<WebhookRecord>): CreateWebhookResponse => ({
    webhook: webhooks.message(stored),
    secret: stored.value.secrets[0]?.value ?? '',
  });
  const standard = standardMethods(
    {
      contract: WebhookServiceDefinition,
      kind: 'Webhook',
      entity: webhooks,
      fields: { ...headerFields, disabled: { path: 'disabled', type: 'boolean' } },
      changeable: ['url', 'filter', 'content_mode', 'disabled', 'timeout', 'give_up_after'],
      build: async (webhook, header, { secret }) => {
        if (secret !== '') checkSecret(secret, 'secret');
        const settings = settingsOf(webhook, policy);
        await checkFilter(bus, webhook);
        if ((await webhooks.count()) >= limit) throw full(limit);
        const fromPlace = await nextPlace(bus);
        return { header, ...settings, ...(fromPlace !== undefined && { fromPlace }), secrets: [] };
      },
      complete: (record, request) => {
        if (request === undefined) throw nobodyAsks();
        return { ...record, secrets: [{ value: request.secret === '' ? newSecret() : request.secret }] };
      },
      created: withSecret,
      change: ({ failure, ...record }, webhook) => {
        const settings = settingsOf(webhook, policy);
        // What failed was the endpoint before.
        const stillFails = failure !== undefined && settings.url === record.url && !record.disabled;
        return { ...record, ...settings, ...(stillFails && { failure }) };
      },
      removed: async (uid) => {
        for await (const delivery of log.all(uid)) await log.drop(delivery.id);
      },
    },
    parts,
  );
  return {
    ...standard,
    updateWebhook: async (request, call) => {
      const { webhook, updateMask: mask = [] } = request;
      if (mask.length === 0 || mask.includes('filter')) await checkFilter(bus, webhook);
      return await standard.updateWebhook(request, call);
    },
    rotateWebhookSecret: rotating(parts, withSecret),
  };
}

async function checkFilter(bus: Bus, webhook: Webhook | undefined): Promise<void> {
  const { entity } = filterOf(webhook?.filter);
  if (entity !== '') await checkEntityWord(bus, entity, 'webhook.filter.entity');
}

/** Made as the record is written, and remembered there alone. */
function rotating(
  { webhooks, idempotency, clock }: WebhooksApiParts,
  message: (stored: Stored<WebhookRecord>) => CreateWebhookResponse,
): Implementation<typeof WebhookServiceDefinition>['rotateWebhookSecret'] {
  const rotate = updating<WebhookRecord, CreateWebhookResponse, { readonly until: string }>(idempotency, {
    name: '/nephos.webhooks.v1.WebhookService/RotateWebhookSecret',
    entity: {
      definition: webhooks.definition,
      get: (id) => webhooks.get(id),
      modify: (id, change, options) => webhooks.modify(id, change, options),
      message,
    },
    change: ({ value }, { until }) => {
      const secrets = withNewSecret(value.secrets, { value: newSecret(), until, now: clock.now() });
      return { ...value, secrets, header: touched(value.header, clock) };
    },
  });
  return (request, call) =>
    rotate(call, RotateWebhookSecretRequest.encode(request).finish(), async () => {
      const { id } = await findResource(webhooks, request.name);
      const until = new Date(clock.now().getTime() + overlapMs(request.overlap)).toISOString();
      return { entityUid: id, body: { until } };
    });
}

function full(limit: number): Exhausted {
  return new Exhausted(
    'LIMIT_REACHED',
    `there are ${limit} webhooks, as many as NEPHOS_WEBHOOK_LIMIT allows: delete one`,
  );
}

/** A webhook that a crash kept from being made: its secret is in its caller's hands alone, who repeats the request. */
function nobodyAsks(): Precondition {
  return new Precondition('STATE_FORBIDS', 'the secret of this webhook is known to its caller alone');
}
