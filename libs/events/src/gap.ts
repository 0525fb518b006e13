/**
 * What a gap hides: the events of an entity between the one handled last and one that has come, read from the
 * stream; where they are gone for good, the entity's latest state, as an event that stands for all of them.
 * Keeps nothing; throws when the session is lost, and is then called again in the next.
 */
import type { Session } from './bus.ts';
import type { Delivery, EntityLane } from './entity-lane.ts';
import { latestOf, nextOf } from './history.ts';
import type { EventTree } from './subject.ts';

/** What to handle before the event that has come. */
export interface Filling {
  readonly deliveries: readonly Delivery[];
  /** They are not what was missed but the state after it. */
  readonly resynced: boolean;
}

export async function fillingOf(
  session: Session,
  tree: EventTree,
  lane: EntityLane,
  delivery: Delivery,
): Promise<Filling> {
  const { event, streamSequence } = delivery;
  const handled = lane.handled ?? 0;
  const missing: Delivery[] = [];
  let covered = handled;
  for (let at = lane.handledAt + 1; covered + 1 < event.firstSequence; ) {
    const found = await nextOf(session, tree, event, at);
    if (!found || (streamSequence > 0 && found.streamSequence >= streamSequence)) break;
    at = found.streamSequence + 1;
    if (found.event.sequence <= covered) continue;
    if (found.event.firstSequence > covered + 1) break;
    covered = found.event.sequence;
    missing.push(beside(found));
  }
  if (covered + 1 >= event.firstSequence) return { deliveries: missing, resynced: false };
  const latest = await latestOf(session, tree, event);
  const newest = latest && latest.event.sequence > event.sequence ? latest : delivery;
  const resynced = { ...newest.event, firstSequence: handled + 1, resync: true };
  return { deliveries: [beside({ ...newest, event: resynced })], resynced: true };
}

/** A delivery of something that was read beside the subscription. */
function beside({ event, body, natsSubject }: Pick<Delivery, 'event' | 'body' | 'natsSubject'>): Delivery {
  const nothing = (): void => undefined;
  return { event, body, natsSubject, streamSequence: 0, ack: nothing, working: nothing };
}
