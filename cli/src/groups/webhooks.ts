/** `nephos webhooks`: events over HTTP, and the log of what was delivered. */
import {
  Webhook_ContentMode as ContentMode,
  Webhook,
  WebhookDelivery,
  WebhookDelivery_State,
  WebhookServiceDefinition,
} from '@nephos/proto/nephos/webhooks/v1/webhook';
import { durationOf, isUid, NotFound } from '@nephos/service';
import type { Command } from 'commander';
import { createdColumn, enumColumn, nameColumn, timeWord, uidColumn } from '../columns.ts';
import {
  addDelete,
  addReading,
  collectLabel,
  findName,
  positive,
  printOne,
  type ResourceKind,
} from '../resource.ts';
import type { Session } from '../session.ts';
import { type Column, fields, type Json } from '../table.ts';
import { zoneKind } from './zones.ts';

const examples = `
Examples:
  nephos webhooks create billing --url https://example.org/hook --entity vm --owner acme
  nephos webhooks ping billing
  nephos webhooks deliveries billing --filter 'state = "DEAD"'
  nephos webhooks resend billing                    every dead delivery of it
  nephos webhooks resend webhooks/…/deliveries/…    one delivery
  nephos webhooks rotate-secret billing --overlap 3600

A delivery is a signed POST of a CloudEvent (standardwebhooks.com): check webhook-signature, and the age of
webhook-timestamp; drop what has a webhook-id that you had before; answer 2xx within the time-out.`;

const deliveryColumns: readonly Column[] = [
  enumColumn('STATE', 'state'),
  { title: 'EVENT', path: 'eventId' },
  { title: 'TYPE', path: 'eventType' },
  { title: 'ATTEMPTS', path: 'attemptCount' },
  { title: 'LAST', path: 'attempts', format: lastWord },
  { title: 'NEXT', path: 'nextAttemptTime', format: timeWord },
  { title: 'NAME', path: 'name' },
];

const webhookKind: ResourceKind<Webhook> = {
  word: 'webhook',
  collection: 'webhooks',
  columns: [
    nameColumn,
    enumColumn('STATE', 'state'),
    { title: 'ENDPOINT', path: 'endpoint' },
    { title: 'ENTITY', path: 'filter.entity' },
    { title: 'OWNER', path: 'header.owner' },
    { title: 'FAILURE', path: 'failure.message' },
    createdColumn,
    uidColumn,
  ],
  async list(platform, { filter, pageSize, pageToken }) {
    const webhooks = await platform.client(WebhookServiceDefinition, 'webhooks');
    const page = await webhooks.listWebhooks({ filter, pageSize, pageToken });
    return { items: page.webhooks, nextPageToken: page.nextPageToken };
  },
  get: async (platform, name) =>
    (await platform.client(WebhookServiceDefinition, 'webhooks')).getWebhook({ name }),
  toJson: (webhook) => Webhook.toJSON(webhook),
};

export function addWebhooks(program: Command, session: Session): void {
  const group = program
    .command('webhooks')
    .description('webhooks: events over HTTP, for those without NATS or gRPC')
    .addHelpText('after', examples);
  addReading(group, session, webhookKind);
  addCreate(group, session);
  addChanges(group, session);
  addDeliveries(group, session);
  addDelete(group, session, webhookKind, async (platform, name) =>
    (await platform.client(WebhookServiceDefinition, 'webhooks')).deleteWebhook({ name }),
  );
}

interface CreateOptions {
  readonly url: string;
  readonly owner: string;
  readonly entity: string;
  readonly zone?: string;
  readonly verb: readonly string[];
  readonly binary?: boolean;
  readonly timeout?: string;
  readonly giveUpAfter?: string;
  readonly label?: Record<string, string>;
}

function addCreate(group: Command, session: Session): void {
  group
    .command('create')
    .description('create a webhook; prints the secret to check signatures with, once')
    .argument('<name>', 'its display name')
    .requiredOption('--url <url>', 'https://…, where events are sent')
    .option('--owner <owner>', 'whom it belongs to; it gets events of that owner (default: of all)', '')
    .option('--entity <word>', 'only of this kind, e.g. vm', '')
    .option('--zone <zone>', 'only in this zone')
    .option('--verb <verb>', 'only this verb, e.g. created; as often as wanted', collect, [])
    .option('--binary', 'attributes as HTTP headers instead of one JSON body')
    .option('--timeout <seconds>', 'how long one attempt may take')
    .option('--give-up-after <seconds>', 'how long an event is tried before it is a dead letter')
    .option('--label <key=value>', 'as often as wanted', collectLabel)
    .action(async (displayName: string, options: CreateOptions) => create(session, displayName, options));
}

async function create(session: Session, displayName: string, options: CreateOptions): Promise<void> {
  const zone = options.zone === undefined ? '' : await findName(session, zoneKind, options.zone);
  const webhooks = await session.platform.client(WebhookServiceDefinition, 'webhooks');
  const { webhook, secret } = await webhooks.createWebhook({
    webhook: {
      header: { displayName, owner: options.owner, labels: options.label ?? {} },
      url: options.url,
      filter: { entity: options.entity, zone, verbs: [...options.verb] },
      contentMode: options.binary === true ? ContentMode.BINARY : ContentMode.STRUCTURED,
      timeout: seconds('--timeout', options.timeout),
      giveUpAfter: seconds('--give-up-after', options.giveUpAfter),
    },
  });
  if (webhook !== undefined) printWithSecret(session, webhook, secret);
}

function addChanges(group: Command, session: Session): void {
  for (const [verb, disabled] of [
    ['enable', false],
    ['disable', true],
  ] as const) {
    group
      .command(verb)
      .description(
        disabled ? 'send nothing; events wait where they are kept' : 'send again, with what waited',
      )
      .argument('<webhook>')
      .action(async (reference: string) => {
        const name = await findName(session, webhookKind, reference);
        const webhooks = await session.platform.client(WebhookServiceDefinition, 'webhooks');
        const webhook = { header: { name }, disabled };
        printOne(session, webhookKind, await webhooks.updateWebhook({ webhook, updateMask: ['disabled'] }));
      });
  }
  group
    .command('rotate-secret')
    .description('make a new secret; the old one stays valid for a while')
    .argument('<webhook>')
    .option('--overlap <seconds>', 'how long the old one stays valid; 0: not at all (default: a day)')
    .action(async (reference: string, { overlap }: { readonly overlap?: string }) => {
      const name = await findName(session, webhookKind, reference);
      const webhooks = await session.platform.client(WebhookServiceDefinition, 'webhooks');
      const lasts = overlap === '0' ? durationOf(0) : seconds('--overlap', overlap);
      const { webhook, secret } = await webhooks.rotateWebhookSecret({ name, overlap: lasts });
      if (webhook !== undefined) printWithSecret(session, webhook, secret);
    });
}

function addDeliveries(group: Command, session: Session): void {
  group
    .command('ping')
    .description('send a test event now and show what came of it; fails if it was not taken')
    .argument('<webhook>')
    .action(async (reference: string) => {
      const name = await findName(session, webhookKind, reference);
      const webhooks = await session.platform.client(WebhookServiceDefinition, 'webhooks');
      const delivery = await webhooks.pingWebhook({ name });
      printDelivery(session, delivery);
      if (delivery.state !== WebhookDelivery_State.DELIVERED)
        throw new Error('the test event was not delivered: the last attempt says why');
    });
  group
    .command('deliveries')
    .description('the log of deliveries, newest first')
    .argument('<webhook>')
    .option('--filter <text>', 'e.g. \'state = "DEAD" AND entity = "vm"\'', '')
    .option('--limit <number>', 'at most so many', '50')
    .action(
      async (reference: string, { filter, limit }: { readonly filter: string; readonly limit: string }) => {
        const parent = await findName(session, webhookKind, reference);
        const rows = await log(session, { parent, filter, limit: positive('--limit', limit) });
        if (session.json) session.document(rows);
        else session.table(deliveryColumns, rows);
      },
    );
  group
    .command('delivery')
    .description('one delivery, with its attempts and its event')
    .argument('<name>', 'webhooks/…/deliveries/…')
    .action(async (reference: string) => {
      const name = await deliveryName(session, reference);
      const webhooks = await session.platform.client(WebhookServiceDefinition, 'webhooks');
      printDelivery(session, await webhooks.getWebhookDelivery({ name }));
    });
  addOnDeliveries(group, session, 'resend', 'send again: one delivery, or every dead one of a webhook');
  addOnDeliveries(group, session, 'drop', 'forget: one delivery, or every dead one of a webhook');
}

function addOnDeliveries(
  group: Command,
  session: Session,
  verb: 'resend' | 'drop',
  description: string,
): void {
  group
    .command(verb)
    .description(description)
    .argument('<webhook-or-delivery>', 'a webhook, or webhooks/…/deliveries/…')
    .action(async (reference: string) => {
      const isDelivery = reference.includes('/deliveries/');
      const name = isDelivery
        ? await deliveryName(session, reference)
        : await findName(session, webhookKind, reference);
      const webhooks = await session.platform.client(WebhookServiceDefinition, 'webhooks');
      const { count } = await (verb === 'resend'
        ? webhooks.resendWebhookDeliveries({ name })
        : webhooks.dropWebhookDeliveries({ name }));
      if (session.json) session.document({ count: Number(count) });
      else session.out(`${count} ${verb === 'resend' ? 'wait to be sent' : 'dropped'}`);
    });
}

/** `webhooks/…/deliveries/…`, whole or as the table prints it: with the ends of uids. */
async function deliveryName(session: Session, spoken: string): Promise<string> {
  const [webhook, delivery = ''] = spoken.split('/deliveries/') as [string, string?];
  const parent = await findName(session, webhookKind, webhook);
  if (isUid(delivery)) return `${parent}/deliveries/${delivery}`;
  const end = delivery.replace(/^…/, '');
  const found = (await log(session, { parent, filter: '', limit: 1000 })).filter(
    ({ deliveryId }) => end.length >= 6 && String(deliveryId).endsWith(end),
  );
  const [only, ...others] = found;
  if (only !== undefined && others.length === 0) return String(only['name']);
  const text = `${found.length === 0 ? 'there is no delivery' : 'more than one delivery is meant by'} "${spoken}"`;
  throw new NotFound('RESOURCE_NOT_FOUND', `${text}; "nephos webhooks deliveries ${webhook}" shows them`);
}

async function log(
  session: Session,
  { parent, filter, limit }: { readonly parent: string; readonly filter: string; readonly limit: number },
): Promise<Json[]> {
  const webhooks = await session.platform.client(WebhookServiceDefinition, 'webhooks');
  const rows: Json[] = [];
  let pageToken = '';
  do {
    const pageSize = Math.min(500, limit - rows.length);
    const page = await webhooks.listWebhookDeliveries({ parent, filter, pageSize, pageToken });
    rows.push(...page.deliveries.map((each) => WebhookDelivery.toJSON(each) as Json));
    pageToken = page.nextPageToken;
  } while (pageToken !== '' && rows.length < limit);
  return rows;
}

function printDelivery(session: Session, delivery: WebhookDelivery): void {
  const json = WebhookDelivery.toJSON(delivery);
  if (session.json) session.document(json);
  else session.out(fields(json));
}

function printWithSecret(session: Session, webhook: Webhook, secret: string): void {
  if (session.json) return session.document({ webhook: Webhook.toJSON(webhook), secret });
  printOne(session, webhookKind, webhook);
  session.out(`secret  ${secret}`);
  session.note('The secret is shown this once.');
}

function seconds(option: string, text: string | undefined) {
  return text === undefined ? undefined : durationOf(positive(option, text) * 1000);
}

function collect(text: string, before: readonly string[]): string[] {
  return [...before, text];
}

function lastWord(value: unknown): string {
  const last = (
    value as readonly { readonly httpStatus?: number; readonly error?: string }[] | undefined
  )?.at(-1);
  if (last === undefined) return '-';
  return last.httpStatus ? String(last.httpStatus) : (last.error ?? '-');
}
