/**
 * Events within what the broker takes. Pure.
 * Invariant: every event has a form that fits, so that none can hold up its entity for ever: first the state
 * before is left out, then the state after too; the event says what is missing.
 */
import type { PendingEvent } from '@nephos/store';
import { type EventPayload, encodeEvent, type Omission } from './cloudevent.ts';

/** The broker counts headers as well: a message id, and those of a dead letter that an event may become. */
export const headerRoom = 4096;

/** The event in at most `maxPayload` bytes, headers included. */
export function encodeWithin(
  payload: EventPayload,
  pending: Omit<PendingEvent, 'payload'>,
  maxPayload: number,
): string {
  const room = maxPayload - headerRoom;
  const whole = encodeEvent(payload, pending);
  if (fits(whole, room)) return whole;
  const { old, new: now, changedPaths } = payload.change;
  const omitted: Omission[] = old ? ['old'] : [];
  const after = { ...(now && { new: now }), changedPaths };
  const withoutOld = encodeEvent({ ...payload, change: after }, pending, omitted);
  if (fits(withoutOld, room)) return withoutOld;
  if (now) omitted.push('new');
  const pathsAlone = encodeEvent({ ...payload, change: { changedPaths } }, pending, omitted);
  if (fits(pathsAlone, room)) return pathsAlone;
  return encodeEvent({ ...payload, change: { changedPaths: [] } }, pending, [...omitted, 'changedPaths']);
}

/** A UTF-16 unit takes at most three bytes: short texts need no counting. */
function fits(text: string, room: number): boolean {
  return text.length * 3 <= room || Buffer.byteLength(text) <= room;
}
