/** What a caller may ask of a credential, checked word by word: nothing of it reaches the broker unchecked. Pure. */
import type { EventSlice, EventStart } from '@nephos/proto/nephos/events/v1/credential';
import { checkOwner, fieldInvalid, isUid, refuseFields } from '@nephos/service';
import type { SliceRecord, StartRecord } from './record.ts';

const entityWord = /^[a-z][a-z0-9_-]{0,62}$/;
const wildcard = /^[*>]$/;

/** Throws `Invalid` on wildcards, malformed words, and a slice that is everything without saying so. */
export function sliceOf(slice: EventSlice | undefined): SliceRecord {
  const { owner, zone, entity, everything = false } = slice ?? {};
  const record: SliceRecord = {
    ...(owner !== undefined && { owner: checkedOwner(owner) }),
    ...(zone !== undefined && { zone: checkedZone(zone) }),
    ...(entity !== undefined && { entity: checkedEntity(entity) }),
  };
  const open = Object.keys(record).length === 0;
  if (open === everything) return record;
  throw fieldInvalid(
    'credential.slice',
    open
      ? 'needs an owner, a zone or an entity; or say that everything is meant'
      : 'is everything, or has an owner, a zone or an entity: not both',
    open,
  );
}

/** Throws `Invalid`. */
export function startOf(start: EventStart | undefined, field: string): StartRecord {
  const from = start?.from;
  if (from === undefined) return { from: 'all' };
  if (from.$case === 'time') return { from: 'time', time: checkedTime(from.value, field) };
  if (!from.value) throw fieldInvalid(field, `${from.$case} can only be true`);
  return { from: from.$case };
}

/** RFC 3339 has years of four digits; the broker refuses a consumer with any other. */
function checkedTime(time: Date, field: string): string {
  const year = time.getUTCFullYear();
  if (year >= 1970 && year <= 9999) return time.toISOString();
  throw fieldInvalid(field, 'is no time from 1970 to 9999');
}

function checkedOwner(owner: string): string {
  const field = 'credential.slice.owner';
  if (wildcard.test(owner)) throw fieldInvalid(field, 'is a wildcard: leave it out where any is meant');
  checkOwner(owner, field);
  return owner;
}

function checkedZone(zone: string): string {
  const [collection, uid = '', ...rest] = zone.split('/');
  if (zone === '' || (collection === 'zones' && isUid(uid) && rest.length === 0)) return zone;
  throw fieldInvalid('credential.slice.zone', 'is no name of a zone, zones/{uid}');
}

function checkedEntity(entity: string): string {
  const field = 'credential.slice.entity';
  if (!entityWord.test(entity)) throw fieldInvalid(field, 'is no word of an entity, such as vm');
  if (entity === 'job') {
    refuseFields([{ field, description: 'jobs are in no slice: their events are for the platform' }]);
  }
  return entity;
}
