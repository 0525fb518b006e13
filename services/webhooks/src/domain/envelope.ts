/**
 * Puts a CloudEvent into an HTTP request: CloudEvents HTTP protocol binding 1.0.2, sections 3.1 (binary) and 3.2
 * (structured). Pure. The event comes as it was published, structured JSON.
 */

export type ContentMode = 'structured' | 'binary';

interface StructuredEvent {
  readonly data?: unknown;
  readonly datacontenttype?: string;
  readonly [attribute: string]: unknown;
}

export interface HttpMessage {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export function httpMessage(event: string, mode: ContentMode): HttpMessage {
  if (mode === 'structured')
    return { headers: { 'content-type': 'application/cloudevents+json; charset=utf-8' }, body: event };
  const { data, datacontenttype, ...attributes } = JSON.parse(event) as StructuredEvent;
  const headers: Record<string, string> = { 'content-type': datacontenttype ?? 'application/json' };
  for (const [name, value] of Object.entries(attributes)) headers[`ce-${name}`] = headerText(String(value));
  return { headers, body: JSON.stringify(data) };
}

/** Section 3.1.3.2: what is not printable ASCII, and space, double quote and percent, as %XX of its UTF-8. */
function headerText(text: string): string {
  return text.replace(/[^\x21\x23\x24\x26-\x7e]+/gu, (part) =>
    [...Buffer.from(part, 'utf8')]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  );
}
