/**
 * Publishes the change that travels inside a record as an entity event. At least once: the message id is made of
 * uid and sequence, and subscribers drop what they had. Throws Unavailable: stored or not, nobody knows.
 */

import {
  changedPaths,
  encodeEvent,
  eventId,
  type JsonObject,
  removedHeader,
  type Session,
  subjectOf,
} from '@nephos/events';
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { messageOf } from '../domain/message.ts';
import { type InstanceRecord, type PublicState, publicState } from '../domain/record.ts';

export async function announce(session: Session, record: InstanceRecord): Promise<void> {
  const { pending, uid, facts } = record;
  if (pending === undefined) return;
  const old = pending.before && jsonOf(pending.before);
  const now = record.ended ? undefined : jsonOf(publicState(record));
  const address = { entity: 'instance', uid, owner: '', zone: facts.zone };
  const body = encodeEvent(
    {
      tree: 'entities',
      address,
      verb: pending.verb,
      source: '/nephos/directory',
      name: `instances/${uid}`,
      schema: Instance.$type,
      change: { ...(now && { new: now }), ...(old && { old }), changedPaths: changedPaths(old, now) },
    },
    pending,
    session.publisher,
  );
  const headers = record.ended ? { [removedHeader]: '1' } : {};
  await session.publisher.publish(
    subjectOf('entities', address),
    body,
    eventId(address, pending.seq),
    headers,
  );
}

function jsonOf(state: PublicState): JsonObject {
  return Instance.toJSON(messageOf(state)) as JsonObject;
}
