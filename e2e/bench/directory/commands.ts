/** What the processes of both sides can be asked. An instance is known by its number; so is its present state. */

export type ServerCommands = {
  /** `host:port` where it answers. */
  address(input: undefined): Promise<string>;
};

export interface Told {
  readonly number: number;
  readonly state: number;
}

export type InstancesCommands = {
  /** Registers instances with these numbers and keeps their leases; gives when it began. */
  register(input: { readonly from: number; readonly count: number }): Promise<number>;
  /** Says another state of one; gives when it began. */
  change(input: Told): Promise<number>;
};

export type WatchersCommands = {
  /** Opens so many watches of the first service; resolves once each knows so many instances. */
  open(input: { readonly watchers: number; readonly instances: number }): Promise<void>;
  /** Resolves once every watcher has seen the instance in this state: when each did. */
  seen(input: Told): Promise<Float64Array>;
  /** Resolves once the instance is in no watcher's list: when it went from the last. */
  gone(input: { readonly number: number }): Promise<number>;
};

/** Of the leases on both sides. */
export const ttlMs = 3000;

/** Instances are spread over services; the first ones are all of the service that is watched. */
export const watchedInstances = 100;
/** Numbers from here on are of the watched service too: those that come while we measure. */
export const firstNewNumber = 1_000_000;

export function serviceOf(number: number): string {
  const group = number >= firstNewNumber ? 0 : Math.floor(number / watchedInstances);
  return `service-${group}`;
}

const uidStart = '0192f4c3-1a2b-7c3d-8e4f-';

export function uidOf(number: number): string {
  return uidStart + number.toString(16).padStart(12, '0');
}

export function numberIn(uid: string): number {
  return Number.parseInt(uid.slice(uidStart.length), 16);
}

export type MemberCommands = {
  /** Under what it is listed. */
  id(input: undefined): Promise<string>;
};

export type ObserverCommands = {
  /** When the list had it. */
  listed(input: { readonly id: string }): Promise<number>;
  /** When the list had it no more. */
  gone(input: { readonly id: string }): Promise<number>;
};
