/**
 * `host:port` texts and call targets. A target is a service's name, `host:port`, or a URI that a registered
 * grpc-js resolver knows; a name becomes `nephos:///name?label.key=value`, which libs/directory resolves.
 */
import { hostname } from 'node:os';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** `127.0.0.1:4000`, `[::1]:4000`, `name:4000`. Throws an Error that says what is allowed. */
export function hostAndPort(text: string): Address {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new Error('host:port, an IPv6 host in [brackets]');
  return { host: match[1] ?? match[2] ?? '', port };
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

const everywhere = new Set(['0.0.0.0', '::']);

/** What others reach us at: as configured, or else where we listen (the host's name if that is everywhere). */
export function advertisedAddress(advertise: string, bound: Address): Address {
  if (advertise === '') return everywhere.has(bound.host) ? { host: hostname(), port: bound.port } : bound;
  return /:\d+$/.test(advertise) ? hostAndPort(advertise) : { host: advertise, port: bound.port };
}

export type Labels = Readonly<Record<string, string>>;

/** The service that a target names; undefined for addresses and other URIs. */
export function serviceOf(uri: string): string | undefined {
  return /^nephos:\/\/\/([^?]+)/.exec(uri)?.[1];
}

/** The grpc-js target of a service's name, an address or a URI. */
export function callTarget(target: string, labels: Labels = {}): string {
  if (target.includes(':')) return target;
  const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  const query = new URLSearchParams(Object.fromEntries(pairs.map(([key, value]) => [`label.${key}`, value])));
  return pairs.length === 0 ? `nephos:///${target}` : `nephos:///${target}?${query.toString()}`;
}
