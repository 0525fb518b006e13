/** The resource between its forms: what a caller sends, what is kept, what lists and events show. Pure. */
import { type Callee, Health, Instance } from '@nephos/proto/nephos/directory/v1/instance';
import {
  checkLabels,
  durationMs,
  durationOf,
  etagOf,
  type FieldViolation,
  fieldInvalid,
  hostAndPort,
  isUid,
  refuseFields,
} from '@nephos/service';
import type { CalleeWord, HealthWord, InstanceFacts, PublicState } from './record.ts';

const leaseBounds = { least: 1000, most: 60_000, usual: 3000 };
const usualWeight = 100;
const healthWords: ReadonlyMap<number, HealthWord> = new Map([
  [Health.SERVING, 'SERVING'],
  [Health.NOT_SERVING, 'NOT_SERVING'],
  [Health.DRAINING, 'DRAINING'],
]);

/** What lists tell besides the public state. */
export interface Bookkeeping {
  readonly load: number;
  readonly callees: readonly CalleeWord[];
  readonly silent: boolean;
}

const noBookkeeping: Bookkeeping = { load: 0, callees: [], silent: false };

/** `books` are left out of events. */
export function messageOf(state: PublicState, books: Bookkeeping = noBookkeeping): Instance {
  const { uid, facts, eventSeq } = state;
  const { load, callees, silent } = books;
  const { process } = facts;
  return Instance.fromPartial({
    header: {
      name: `instances/${uid}`,
      uid,
      displayName: facts.displayName,
      zone: facts.zone,
      labels: facts.labels,
      etag: etagOf(uid, eventSeq),
      createTime: new Date(state.createTime),
      updateTime: new Date(state.updateTime),
    },
    service: facts.service,
    version: facts.version,
    address: facts.address,
    grpcServices: [...facts.grpcServices],
    health: Health[facts.health],
    weight: facts.weight,
    load,
    leaseTtl: durationOf(facts.leaseMs),
    ...(facts.renewMs !== undefined && { renewInterval: durationOf(facts.renewMs) }),
    silent,
    callees: callees.map(({ service, calls, failures, since }) => ({
      service,
      calls: BigInt(calls),
      failures: BigInt(failures),
      since: new Date(since),
    })),
    registerTime: new Date(state.registerTime),
    process: { host: process.host, pid: process.pid, startTime: new Date(process.startTime) },
  });
}

/** Throws Invalid for a health that is not one of the three. */
export function healthOf(health: Health, field: string): HealthWord {
  const word = healthWords.get(health);
  if (word !== undefined) return word;
  throw fieldInvalid(field, 'must be SERVING, NOT_SERVING or DRAINING');
}

export function loadOf(load: number): number {
  return Number.isFinite(load) ? Math.min(1, Math.max(0, load)) : 0;
}

const mostCallees = 64;

/** What is no name or no number is left out: bookkeeping is not worth a refusal. `now`: RFC 3339. */
export function calleesOf(callees: readonly Callee[], now: string): CalleeWord[] {
  return callees
    .filter(({ service }) => serviceForm.test(service))
    .slice(0, mostCallees)
    .map(({ service, calls, failures, since }) => ({
      service,
      calls: Number(calls),
      failures: Number(failures),
      since: timeOf(since) ?? now,
    }));
}

const serviceForm = /^[a-z][a-z0-9-]{0,62}$/;

/** The uid and the facts of an instance that registers. Throws Invalid naming every wrong field. `now`: RFC 3339. */
export function factsOf(instance: Instance | undefined, now: string): { uid: string; facts: InstanceFacts } {
  const given = instance ?? Instance.fromPartial({});
  const { header, process } = given;
  const leaseMs = given.leaseTtl ? Math.round(durationMs(given.leaseTtl)) : leaseBounds.usual;
  const facts: InstanceFacts = {
    service: given.service,
    version: given.version,
    displayName: header?.displayName ?? '',
    zone: header?.zone ?? '',
    labels: header?.labels ?? {},
    address: given.address,
    grpcServices: given.grpcServices,
    health: healthWords.get(given.health) ?? 'NOT_SERVING',
    weight: given.weight === 0 ? usualWeight : given.weight,
    leaseMs,
    ...(given.renewInterval && { renewMs: Math.round(durationMs(given.renewInterval)) }),
    process: {
      host: process?.host ?? '',
      pid: process?.pid ?? 0,
      startTime: timeOf(process?.startTime) ?? now,
    },
  };
  const uid = header?.uid ?? '';
  refuseFields(violations(uid, facts, healthWords.has(given.health)));
  checkLabels(facts.labels, 'instance.header.labels');
  return { uid, facts };
}

function violations(uid: string, facts: InstanceFacts, healthKnown: boolean): FieldViolation[] {
  const checks: readonly (readonly [boolean, string, string])[] = [
    [isUid(uid), 'header.uid', 'a UUIDv7'],
    [serviceForm.test(facts.service), 'service', 'lower case, digits and dashes, at most 63'],
    [facts.version.length <= 63, 'version', 'at most 63 characters'],
    [isAddress(facts.address), 'address', 'host:port, an IPv6 host in [brackets]'],
    [healthKnown, 'health', 'must be SERVING, NOT_SERVING or DRAINING'],
    [facts.weight > 0, 'weight', '0 or more'],
    [facts.leaseMs >= leaseBounds.least && facts.leaseMs <= leaseBounds.most, 'lease_ttl', '1 s to 60 s'],
    [
      facts.renewMs === undefined || (facts.renewMs >= 100 && facts.renewMs <= facts.leaseMs),
      'renew_interval',
      '100 ms to the lease',
    ],
    [facts.zone.length <= 128, 'header.zone', 'at most 128 characters'],
    // A record that the bus would not take could neither be kept nor taken out.
    [facts.displayName.length <= 63, 'header.display_name', 'at most 63 characters'],
    [facts.address.length <= 300, 'address', 'at most 300 characters'],
    [facts.process.host.length <= 255, 'process.host', 'at most 255 characters'],
    [
      facts.grpcServices.length <= 256 && facts.grpcServices.every(({ length }) => length <= 255),
      'grpc_services',
      'at most 256 names of at most 255 characters',
    ],
  ];
  return checks.flatMap(([fits, field, description]) =>
    fits ? [] : [{ field: `instance.${field}`, description }],
  );
}

/** Undefined for none, and for one that is no time that can be written. */
function timeOf(time: Date | undefined): string | undefined {
  return time === undefined || Number.isNaN(time.getTime()) ? undefined : time.toISOString();
}

function isAddress(text: string): boolean {
  try {
    return hostAndPort(text).port > 0;
  } catch {
    return false;
  }
}
