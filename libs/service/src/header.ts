/**
 * The resource header as services store it, and the message it becomes. Stored types are not protos: times are
 * RFC 3339 text, and readers keep what they do not know (DESIGN section 4).
 */
import type { ResourceHeader } from '@nephos/proto/nephos/common/v1/resource';
import type { Clock } from './clock.ts';
import { etagOf } from './resource.ts';

export interface HeaderRecord {
  readonly uid: string;
  readonly displayName: string;
  /** Opaque, immutable. */
  readonly owner: string;
  /** `zones/{uid}`, or empty. */
  readonly zone: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly createTime: string;
  readonly updateTime: string;
  readonly deleteTime?: string;
  readonly purgeTime?: string;
}

/** What a creator may say of a header. */
export type HeaderInput = Pick<ResourceHeader, 'displayName' | 'owner' | 'zone' | 'labels' | 'annotations'>;

export function newHeader(uid: string, input: HeaderInput, clock: Clock): HeaderRecord {
  const now = clock.now().toISOString();
  const { displayName, owner, zone, labels, annotations } = input;
  return { uid, displayName, owner, zone, labels, annotations, createTime: now, updateTime: now };
}

/** The header after a change made now. */
export function touched<H extends HeaderRecord>(header: H, clock: Clock): H {
  return { ...header, updateTime: clock.now().toISOString() };
}

/** `version` is what the etag speaks of: a counter that rises with each change of the public resource. */
export function headerMessage(collection: string, header: HeaderRecord, version: number): ResourceHeader {
  return {
    name: `${collection}/${header.uid}`,
    uid: header.uid,
    displayName: header.displayName,
    owner: header.owner,
    zone: header.zone,
    labels: { ...header.labels },
    annotations: { ...header.annotations },
    etag: etagOf(header.uid, version),
    createTime: new Date(header.createTime),
    updateTime: new Date(header.updateTime),
    deleteTime: dateOf(header.deleteTime),
    purgeTime: dateOf(header.purgeTime),
  };
}

function dateOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}
