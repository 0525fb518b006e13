/** WebhookService: webhooks as resources. Their deliveries are in deliveries.ts. */
import type { Bus } from '@nephos/events';
import type { Idempotency } from '@nephos/idempotency';
import {
  CreateWebhookRequest,
  type CreateWebhookResponse,
  RotateWebhookSecretRequest,
  type WebhookServiceDefinition,
} from '@nephos/proto/nephos/webhooks/v1/webhook';
import {
  AlreadyExists,
  applyUpdateMask,
  type Call,
  type Clock,
  checkEtag,
  checkHeader,
  Exhausted,
  fieldInvalid,
  type Implementation,
  newHeader,
  newUid,
  notFound,
  parseResourceName,
  touched,
} from '@nephos/service';
import { type Json, type ListFields, listPage, type Stored } from '@nephos/store';
import type { DeliveryLog } from '../adapters/delivery-log.ts';
import { nextPlace } from '../adapters/position.ts';
import { checkSecret, newSecret, withNewSecret } from '../domain/signature.ts';
import type { TargetPolicy } from '../domain/target.ts';
import type { WebhookRecord } from '../domain/webhook.ts';
import type { Webhooks } from '../records/webhook.ts';
import { overlapMs, settingsOf } from './fields.ts';

const fields: ListFields = {
  display_name: { path: 'header.displayName', type: 'string' },
  owner: { path: 'header.owner', type: 'string' },
  zone: { path: 'header.zone', type: 'string' },
  disabled: { path: 'disabled', type: 'boolean' },
  labels: { path: 'header.labels', type: 'map' },
};

const changeable = [
  'header.display_name',
  'header.labels',
  'header.annotations',
  'url',
  'filter',
  'content_mode',
  'disabled',
  'timeout',
  'give_up_after',
];

export interface WebhooksApiParts {
  readonly bus: Bus;
  readonly webhooks: Webhooks;
  readonly log: DeliveryLog;
  readonly policy: TargetPolicy;
  readonly idempotency: Idempotency;
  readonly clock: Clock;
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

/** Throws `Invalid`, `NotFound`. */
export async function findWebhook(
  webhooks: Webhooks,
  name: string,
  field = 'name',
): Promise<Stored<WebhookRecord>> {
  const uid = parseResourceName('webhooks', name, field);
  const stored = await webhooks.get(uid);
  if (stored === undefined) throw notFound('webhooks', uid);
  return stored;
}

export function webhooksApi(
  parts: WebhooksApiParts,
): Pick<Implementation<typeof WebhookServiceDefinition>, Methods> {
  const { webhooks, log, policy, clock } = parts;
  const rotate = rotating(parts);
  return {
    createWebhook: creating(parts),
    getWebhook: async ({ name }) => webhooks.message(await findWebhook(webhooks, name)),
    listWebhooks: async (request) => {
      const { indexes } = webhooks.definition.store;
      const { items, nextPageToken } = await listPage(webhooks, request, { indexes, fields });
      return { webhooks: items.map((stored) => webhooks.message(stored)), nextPageToken };
    },
    updateWebhook: async ({ webhook, updateMask }) => {
      if (webhook?.header === undefined) throw fieldInvalid('webhook.header', 'is required', true);
      const current = await findWebhook(webhooks, webhook.header.name, 'webhook.header.name');
      checkEtag(webhook.header.etag, current.id, current.eventSeq);
      const patched = applyUpdateMask(webhooks.message(current), webhook, updateMask, changeable);
      if (patched.header === undefined) throw fieldInvalid('webhook.header', 'is required', true);
      checkHeader(patched.header, 'webhook.header');
      const { displayName, labels, annotations } = patched.header;
      const settings = settingsOf(patched, policy);
      const next = ({ failure, ...record }: WebhookRecord): WebhookRecord => ({
        ...record,
        ...settings,
        // What failed was the endpoint before.
        ...(failure !== undefined && settings.url === record.url && !record.disabled && { failure }),
        header: touched({ ...record.header, displayName, labels, annotations }, clock),
      });
      const stored = await webhooks
        .modify(current.id, next, { expected: current.revision })
        .catch((error: unknown) => {
          throw asNameTaken(error, displayName);
        });
      return webhooks.message(stored);
    },
    deleteWebhook: async ({ name, etag }, call) => {
      const { id, eventSeq, revision } = await findWebhook(webhooks, name);
      checkEtag(etag, id, eventSeq);
      call.detach();
      await webhooks.remove(id, { expected: revision });
      for await (const delivery of log.all(id)) await log.drop(delivery.id);
      return {};
    },
    rotateWebhookSecret: (request, call) => rotate(request, call),
  };
}

/** The secret is minted with the request, so that whoever repeats it gets the same one. */
function creating({ bus, webhooks, policy, idempotency, clock, limit }: WebhooksApiParts) {
  const answer = async (uid: string): Promise<CreateWebhookResponse> => {
    const stored = await webhooks.get(uid);
    if (stored === undefined) throw notFound('webhooks', uid);
    return { webhook: webhooks.message(stored), secret: stored.value.secrets[0]?.value ?? '' };
  };
  const accept = idempotency.method<Json, CreateWebhookResponse>({
    name: '/nephos.webhooks.v1.WebhookService/CreateWebhook',
    carryOut: async ({ entityUid, body }) => {
      const webhook = body as unknown as WebhookRecord;
      try {
        await webhooks.insert(entityUid, webhook);
      } catch (error) {
        if ((await webhooks.get(entityUid)) === undefined)
          throw asNameTaken(error, webhook.header.displayName);
      }
      return await answer(entityUid);
    },
    answer: ({ entityUid }) => answer(entityUid),
  });
  return (request: CreateWebhookRequest, call: Call): Promise<CreateWebhookResponse> =>
    accept(call, CreateWebhookRequest.encode(request).finish(), async () => {
      const { webhook, secret } = request;
      if (webhook?.header === undefined) throw fieldInvalid('webhook.header', 'is required', true);
      checkHeader(webhook.header, 'webhook.header');
      if (secret !== '') checkSecret(secret, 'secret');
      const entityUid = newUid();
      const settings = settingsOf(webhook, policy);
      if ((await webhooks.count()) >= limit)
        throw new Exhausted(
          'LIMIT_REACHED',
          `there are ${limit} webhooks, as many as NEPHOS_WEBHOOK_LIMIT allows: delete one`,
        );
      const fromPlace = await nextPlace(bus);
      const record: WebhookRecord = {
        header: newHeader(entityUid, webhook.header, clock),
        ...settings,
        ...(fromPlace !== undefined && { fromPlace }),
        secrets: [{ value: secret === '' ? newSecret() : secret }],
      };
      return { entityUid, body: record as unknown as Json };
    });
}

function rotating({ webhooks, idempotency, clock }: WebhooksApiParts) {
  const answer = async (uid: string): Promise<CreateWebhookResponse> => {
    const stored = await webhooks.get(uid);
    if (stored === undefined) throw notFound('webhooks', uid);
    return { webhook: webhooks.message(stored), secret: stored.value.secrets[0]?.value ?? '' };
  };
  const accept = idempotency.method<Json, CreateWebhookResponse>({
    name: '/nephos.webhooks.v1.WebhookService/RotateWebhookSecret',
    carryOut: async ({ entityUid, body }) => {
      const { secret, until } = body as { readonly secret: string; readonly until: string };
      await webhooks.modify(entityUid, (record) => {
        if (record.secrets.some(({ value }) => value === secret)) return undefined;
        const secrets = withNewSecret(record.secrets, { value: secret, until, now: clock.now() });
        return { ...record, secrets, header: touched(record.header, clock) };
      });
      return await answer(entityUid);
    },
    answer: ({ entityUid }) => answer(entityUid),
  });
  return (request: RotateWebhookSecretRequest, call: Call): Promise<CreateWebhookResponse> =>
    accept(call, RotateWebhookSecretRequest.encode(request).finish(), async () => {
      const { id } = await findWebhook(webhooks, request.name);
      const until = new Date(clock.now().getTime() + overlapMs(request.overlap)).toISOString();
      return { entityUid: id, body: { secret: newSecret(), until } };
    });
}

function asNameTaken(error: unknown, displayName: string): unknown {
  if (!(error instanceof AlreadyExists) || error.details.metadata?.['index'] !== 'display_name') return error;
  const text = `the display name ${JSON.stringify(displayName)} is taken in this zone: choose another`;
  return new AlreadyExists('DISPLAY_NAME_TAKEN', text, { metadata: { display_name: displayName } });
}
