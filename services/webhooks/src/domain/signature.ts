/**
 * Signs deliveries as the Standard Webhooks specification 1.0 says: HMAC-SHA256 over `<id>.<timestamp>.<body>`, one
 * signature for each secret that is valid, so that a secret can be changed without a missed delivery. Pure.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { fieldInvalid } from '@nephos/service';

const prefix = 'whsec_';
const bytesAllowed = { least: 24, most: 64 } as const;

/** A secret, and until when it is valid; without a time: until it is replaced. */
export interface SigningSecret {
  /** `whsec_<base64>`. */
  readonly value: string;
  /** RFC 3339. */
  readonly until?: string;
}

export function newSecret(): string {
  return prefix + randomBytes(32).toString('base64');
}

/** Throws Invalid on what is no `whsec_` and 24 to 64 bytes in base64. The text itself is never in the error. */
export function checkSecret(secret: string, field: string): void {
  const encoded = secret.slice(prefix.length);
  const bytes = Buffer.from(encoded, 'base64');
  const { least, most } = bytesAllowed;
  const wellFormed = secret.startsWith(prefix) && bytes.toString('base64') === encoded;
  if (!wellFormed || bytes.length < least || bytes.length > most)
    throw fieldInvalid(field, `must be ${prefix} and ${least} to ${most} bytes in base64`);
}

/** Those valid at a time. The newest comes first and never ends by itself. */
export function validSecrets(secrets: readonly SigningSecret[], at: Date): SigningSecret[] {
  return secrets.filter(({ until }) => until === undefined || new Date(until) > at);
}

/** Each is a signature in every delivery. */
const mostSecrets = 5;

interface NewSecret {
  readonly value: string;
  /** When those before end, RFC 3339; one that ends sooner already does. */
  readonly until: string;
  readonly now: Date;
}

/** The secrets after a rotation; of very many the oldest end at once. */
export function withNewSecret(
  before: readonly SigningSecret[],
  { value, until, now }: NewSecret,
): SigningSecret[] {
  const ending = before.map((each) => ({
    ...each,
    until: each.until === undefined || new Date(each.until) > new Date(until) ? until : each.until,
  }));
  return [{ value }, ...validSecrets(ending, now)].slice(0, mostSecrets);
}

export interface SignedParts {
  readonly id: string;
  readonly at: Date;
  readonly body: string;
}

/** The three headers of a signed delivery. */
export function signatureHeaders(
  { id, at, body }: SignedParts,
  secrets: readonly SigningSecret[],
): Record<string, string> {
  const timestamp = String(Math.floor(at.getTime() / 1000));
  const signatures = validSecrets(secrets, at).map(({ value }) => {
    const key = Buffer.from(value.slice(prefix.length), 'base64');
    return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
  });
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') };
}
