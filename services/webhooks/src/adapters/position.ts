/**
 * Where webhooks stand in the stream of events: a durable subscription each, named after it. The place where a new
 * one begins is taken when it is created, and is a place, not a time.
 */
import { JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import { type Bus, type StartFrom, streams } from '@nephos/events';
import { isUid } from '@nephos/service';

type Session = NonNullable<Bus['session']>;

const prefix = 'webhook-';

/** The durable subscription of a webhook. */
export function subscriptionName(uid: string): string {
  return `${prefix}${uid}`;
}

/** The place of the next event; undefined while the broker is away: then all that comes is next. */
export async function nextPlace({ session }: Bus): Promise<number | undefined> {
  if (session === undefined) return undefined;
  try {
    return (await session.jsm.streams.info(streams.events)).state.last_seq + 1;
  } catch {
    return undefined;
  }
}

/** Where a subscription that has no position begins. Events that are not kept any more cannot be delivered. */
export async function startOf({ jsm }: Session, fromPlace: number | undefined): Promise<StartFrom> {
  if (fromPlace === undefined) return 'new';
  const { first_seq, last_seq } = (await jsm.streams.info(streams.events)).state;
  const isOfThisStream = fromPlace <= last_seq + 1 && fromPlace >= first_seq;
  return isOfThisStream ? { sequence: Math.max(1, fromPlace) } : 'all';
}

/** Removes the positions of webhooks that are not there any more. `isGone` may see to what else is left of one. */
export async function forgetPositions(bus: Bus, isGone: (uid: string) => Promise<boolean>): Promise<void> {
  const { jsm } = await bus.ready();
  for await (const { name } of jsm.consumers.list(streams.events)) {
    const uid = name.slice(prefix.length);
    if (!name.startsWith(prefix) || !isUid(uid) || !(await isGone(uid))) continue;
    await jsm.consumers.delete(streams.events, name).catch((error: unknown) => {
      if (!(error instanceof JetStreamApiError && error.code === JetStreamApiCodes.ConsumerNotFound))
        throw error;
    });
  }
}
