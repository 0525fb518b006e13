/**
 * Events within what the broker takes. Pure.
 * Invariant: every event has a form that fits, so that none can hold up its entity for ever: first the state
 * before is left out, then the state after too; the event says what is missing.
 */
import type { PendingEvent } from '@nephos/store';
import { type EventPayload, encodeEvent, type Omission } from './cloudevent.ts';

/** The broker counts headers as well: a message id, and those of a dead letter that an event may become. */
export const headerRoom = 4096;

/** What the broker that takes it says of messages; a Publisher is one. */
export interface Bounds {
  /** Largest message, in bytes, headers included. */
  readonly maxPayload: number;
  /** See EncodeOptions. */
  readonly schemaBase: string;
}

/** The event in at most `maxPayload` bytes, headers included. */
export function encodeWithin(
  payload: EventPayload,
  pending: Omit<PendingEvent, 'payload'>,
  { maxPayload, schemaBase }: Bounds,
): string {
  const room = maxPayload - headerRoom;
  const whole = encodeEvent(payload, pending, { schemaBase });
  if (fits(whole, room)) return whole;
  const { old, new: now, changedPaths } = payload.change;
  const omitted: Omission[] = old ? ['old'] : [];
  const after = { ...(now && { new: now }), changedPaths };
  const withoutOld = encodeEvent({ ...payload, change: after }, pending, { omitted, schemaBase });
  if (fits(withoutOld, room)) return withoutOld;
  if (now) omitted.push('new');
  const pathsAlone = encodeEvent({ ...payload, change: { changedPaths } }, pending, { omitted, schemaBase });
  if (fits(pathsAlone, room)) return pathsAlone;
  const nothing = { ...payload, change: { changedPaths: [] } };
  return encodeEvent(nothing, pending, { omitted: [...omitted, 'changedPaths'], schemaBase });
}

/** A UTF-16 unit takes at most three bytes: short texts need no counting. */
function fits(text: string, room: number): boolean {
  return text.length * 3 <= room || Buffer.byteLength(text) <= room;
}
