/**
 * Where webhooks may go. Everything that is not a public address is refused, since behind it may stand the platform
 * itself or its neighbours (server-side request forgery); an operator may allow ranges. Pure: the sender checks each
 * address that it connects to, so that a name which resolves to something else later gains nothing.
 */
import { createHash } from 'node:crypto';
import { fieldInvalid } from '@nephos/service';
import ipaddr from 'ipaddr.js';

type Range = readonly [ipaddr.IPv4 | ipaddr.IPv6, number];

const longestUrl = 2048;

/** Which addresses are allowed. */
export class TargetPolicy {
  readonly #allowed: readonly Range[];

  /** `allowed`: ranges in CIDR form that are allowed though they are not public. Throws Error on what is none. */
  constructor(allowed: readonly string[]) {
    this.#allowed = allowed.map((text) => ipaddr.parseCIDR(text));
  }

  /** Whether the address, in any textual form, may be connected to. */
  allows(address: string): boolean {
    if (!ipaddr.isValid(address)) return false;
    const parsed = ipaddr.process(address);
    return isPublic(parsed) || this.#isListed(parsed);
  }

  /** Whether the operator named it: such endpoints may go without TLS. */
  lists(address: string): boolean {
    return ipaddr.isValid(address) && this.#isListed(ipaddr.process(address));
  }

  /**
   * The URL as it will be used. Throws Invalid where it cannot be one. A host that is an address is judged here, one
   * that is a name when it is connected to.
   */
  check(text: string, field: string): URL {
    if (text === '') throw fieldInvalid(field, 'is required', true);
    if (text.length > longestUrl) throw fieldInvalid(field, `has more than ${longestUrl} characters`);
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:'))
      throw fieldInvalid(field, 'must be a URL that begins with https://');
    if (url.username !== '' || url.password !== '' || url.hash !== '')
      throw fieldInvalid(field, 'must have no user name, no password and no fragment');
    const address = literalAddress(url);
    if (address !== undefined && !this.allows(address))
      throw fieldInvalid(
        field,
        `goes to ${address}, which is not a public address; an operator allows ranges by NEPHOS_WEBHOOK_ALLOW`,
      );
    if (url.protocol === 'http:' && (address === undefined || !this.lists(address)))
      throw fieldInvalid(
        field,
        'must begin with https://: http is only for addresses that the operator allows',
      );
    return url;
  }

  #isListed(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
    return this.#allowed.some(([base, bits]) => {
      if (address instanceof ipaddr.IPv4) return base instanceof ipaddr.IPv4 && address.match(base, bits);
      return base instanceof ipaddr.IPv6 && address.match(base, bits);
    });
  }
}

/** Of IPv6, global addresses are in one range; the library takes all that it has no name for as unicast. */
const globalIpv6 = ipaddr.parseCIDR('2000::/3');

function isPublic(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  if (address.range() !== 'unicast') return false;
  return address instanceof ipaddr.IPv4 || address.match(globalIpv6);
}

/** The host, where it is an address. */
export function literalAddress({ hostname }: URL): string | undefined {
  const bare = hostname.replace(/^\[|\]$/g, '');
  return ipaddr.isValid(bare) ? bare : undefined;
}

/** What may be shown of a URL: its origin, and a mark that changes with the rest. */
export function endpointOf(url: URL): string {
  const mark = createHash('sha256').update(url.href).digest('hex').slice(0, 8);
  return `${url.origin} (${mark})`;
}
