/** Hostnames of guests: what a person may say, and what is made of a display name when nobody does. */

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** True for an RFC 1123 label in lower case. */
export function isHostname(text: string): boolean {
  return label.test(text);
}

/** A label as near to the display name as one can be; `vm-` and the end of the uid where nothing is left of it. */
export function hostnameOf(displayName: string, uid: string): string {
  const cleaned = displayName
    .normalize('NFKD')
    .replace(/\p{M}+/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');
  return cleaned === '' ? `vm-${uid.slice(-12)}` : cleaned;
}
