/** Checks what a caller says of a webhook and makes it the record's. Pure but for the policy on addresses. */
import type { Duration } from '@nephos/proto/google/protobuf/duration';
import { Webhook_ContentMode as ContentModes, type Webhook } from '@nephos/proto/nephos/webhooks/v1/webhook';
import { durationMs, fieldInvalid } from '@nephos/service';
import type { ContentMode } from '../domain/envelope.ts';
import type { TargetPolicy } from '../domain/target.ts';
import type { WebhookFilter, WebhookRecord } from '../domain/webhook.ts';

const second = 1000;
const minute = 60 * second;
const day = 24 * 60 * minute;
const timeouts = { least: second, most: minute, standard: 10 * second, text: '1 s to 60 s' } as const;
const giveUps = { least: minute, most: 5 * day, standard: day, text: '1 minute to 5 days' } as const;
const word = /^[a-z][a-z0-9_-]{0,62}$/;
const zoneForm = /^zones\/[0-9a-f-]{36}$/;
const mostVerbs = 32;
const mostOwner = 128;

export type Settings = Pick<
  WebhookRecord,
  'url' | 'filter' | 'contentMode' | 'disabled' | 'timeoutMs' | 'giveUpAfterMs'
>;

/** Throws Invalid on the first field that is refused. */
export function settingsOf(webhook: Webhook, policy: TargetPolicy): Settings {
  return {
    url: policy.check(webhook.url, 'webhook.url').href,
    filter: filterOf(webhook.filter),
    contentMode: contentModeOf(webhook.contentMode),
    disabled: webhook.disabled,
    timeoutMs: within(webhook.timeout, timeouts, 'webhook.timeout'),
    giveUpAfterMs: within(webhook.giveUpAfter, giveUps, 'webhook.give_up_after'),
  };
}

/** Throws `Invalid`. */
export function filterOf(filter: Webhook['filter']): WebhookFilter {
  const { owner = '', zone = '', entity = '', verbs = [] } = filter ?? {};
  if (owner.length > mostOwner)
    throw fieldInvalid('webhook.filter.owner', `has at most ${mostOwner} characters`);
  if (zone !== '' && !zoneForm.test(zone)) throw fieldInvalid('webhook.filter.zone', 'must be zones/{uid}');
  if (entity !== '' && !word.test(entity))
    throw fieldInvalid('webhook.filter.entity', 'must be a word such as vm');
  if (verbs.length > mostVerbs || !verbs.every((verb) => word.test(verb)))
    throw fieldInvalid('webhook.filter.verbs', `must be at most ${mostVerbs} words such as created`);
  return { owner, zone, entity, verbs: [...new Set(verbs)] };
}

function contentModeOf(mode: ContentModes): ContentMode {
  if (mode === ContentModes.BINARY) return 'binary';
  if (mode === ContentModes.STRUCTURED || mode === ContentModes.UNSPECIFIED) return 'structured';
  throw fieldInvalid('webhook.content_mode', 'must be CONTENT_MODE_STRUCTURED or CONTENT_MODE_BINARY');
}

interface Bounds {
  readonly least: number;
  readonly most: number;
  readonly standard: number;
  readonly text: string;
}

function within(value: Duration | undefined, { least, most, standard, text }: Bounds, field: string): number {
  const ms = value === undefined ? standard : durationMs(value);
  if (ms < least || ms > most) throw fieldInvalid(field, `must be ${text}`);
  return ms;
}

/** How long the secret before stays valid. */
export function overlapMs(overlap: Duration | undefined): number {
  return within(overlap, { least: 0, most: 7 * day, standard: day, text: 'at most 7 days' }, 'overlap');
}
