/** What callers may say of a resource's header, in every kind of resource. */
import type { ResourceHeader } from '@nephos/proto/nephos/common/v1/resource';
import { checkHeader, fieldInvalid, type HeaderRecord } from '@nephos/service';
import type { ListFields } from '@nephos/store';

/** A resource as contracts have it. */
export interface Message {
  header?: ResourceHeader | undefined;
}

/** A resource as stored. */
export interface HasHeader {
  readonly header: HeaderRecord;
}

/** Fields that every filter may name (AIP-160). */
export const headerFields = {
  display_name: { path: 'header.displayName', type: 'string' },
  owner: { path: 'header.owner', type: 'string' },
  zone: { path: 'header.zone', type: 'string' },
  labels: { path: 'header.labels', type: 'map' },
} as const satisfies ListFields;

/** Paths that every update may name (AIP-134). */
export const headerChangeable = ['header.display_name', 'header.labels', 'header.annotations'];

/** The resource of a request, which calls it `field`. Throws `Invalid` where it, or its header, is missing. */
export function withHeader<M extends Message>(
  message: M | undefined,
  field: string,
): M & { header: ResourceHeader } {
  if (message?.header === undefined) throw fieldInvalid(`${field}.header`, 'is required', true);
  return message as M & { header: ResourceHeader };
}

/** The same, with its header checked. */
export function withCheckedHeader<M extends Message>(
  message: M | undefined,
  field: string,
): M & { header: ResourceHeader } {
  const whole = withHeader(message, field);
  checkHeader(whole.header, `${field}.header`);
  return whole;
}
