/**
 * The order of one entity's messages in its stream, as the stream's leader has it: what came last, and taking back
 * what does not belong there.
 * Owner: the relay. Invariant: behind the place it is given, `putInOrder` leaves sequences that only rise, and the
 * highest of them as the entity's state. Several relays may do it at once. A crash within leaves what was not taken
 * back yet: subscribers drop it by its sequence, and the entity's next event makes the state right.
 */
import { JetStreamApiError, type StoredMsg } from '@nats-io/jetstream';
import type { Session } from './bus.ts';
import { decodeEvent, removedHeader } from './cloudevent.ts';
import { streamOf, streams } from './streams.ts';
import { type EntityAddress, type EventTree, subjectOf } from './subject.ts';

/** Whose messages. */
export interface Entity {
  readonly tree: EventTree;
  readonly address: EntityAddress;
}

/** An event in its stream. */
export interface Placed {
  /** 0 where only the state stream still has it. */
  readonly place: number;
  readonly sequence: number;
}

/** Marks what tells the newest sequence of an entity once more: its state stands, and nothing is behind it. */
export const repeatHeader = 'Nephos-Repeat';

/** An event and the first sequence that it stands for. */
export interface Last extends Placed {
  readonly first: number;
}

/** The entity's last event; where its events are kept no more, the one in the state stream. */
export async function lastOf(session: Session, { tree, address }: Entity): Promise<Last | undefined> {
  const query = { last_by_subj: subjectOf(tree, address) };
  const last = await session.jsm.streams.getMessage(streamOf(tree), query);
  if (last) return { place: last.seq, ...sequencesOf(last) };
  if (tree !== 'entities') return undefined;
  const state = await session.jsm.streams.getMessage(streams.state, query);
  return state ? { place: 0, ...sequencesOf(state) } : undefined;
}

/**
 * Takes back what lies behind the place of `from` although its sequence, or a later one, lay before it; returns how
 * many messages that were.
 */
export async function putInOrder(session: Session, entity: Entity, from: Placed): Promise<number> {
  for (let takenBack = 0; ; ) {
    const { newest, stale, isLastStale } = await survey(session, entity, from);
    for (const place of stale) takenBack += await remove(session, streamOf(entity.tree), place);
    if (!isLastStale) return takenBack;
    // The state stream may have taken what was stale: it gets the newest again. While we did that something newer
    // may have come, and the repeat be stale in its turn.
    if (!(await repeat(session, streamOf(entity.tree), newest))) return takenBack;
  }
}

interface Survey {
  readonly newest: Placed;
  /** Places of what is to be taken back. */
  readonly stale: readonly number[];
  /** Whether nothing newer follows an older event: the state would be old. */
  readonly isLastStale: boolean;
}

async function survey(session: Session, entity: Entity, from: Placed): Promise<Survey> {
  const stale: number[] = [];
  let newest = from;
  let isLastStale = false;
  for (let at = from.place + 1; ; ) {
    const message = await nextOf(session, entity, at);
    if (!message) return { newest, stale, isLastStale };
    at = message.seq + 1;
    const { sequence } = sequencesOf(message);
    if (sequence === 0) continue;
    const isRepeat = sequence === newest.sequence && message.header.has(repeatHeader);
    if (sequence > newest.sequence) newest = { place: message.seq, sequence };
    else if (!isRepeat) stale.push(message.seq);
    isLastStale = sequence < newest.sequence;
  }
}

async function nextOf(
  { jsm }: Session,
  { tree, address }: Entity,
  seq: number,
): Promise<StoredMsg | undefined> {
  // Not the direct way of asking: a replica that lags might answer.
  const query = { seq, next_by_subj: subjectOf(tree, address) };
  return (await jsm.streams.getMessage(streamOf(tree), query)) ?? undefined;
}

async function remove({ jsm }: Session, stream: string, place: number): Promise<number> {
  try {
    return (await jsm.streams.deleteMessage(stream, place, false)) ? 1 : 0;
  } catch (error) {
    // Another relay was faster, or the stream's bounds were.
    if (error instanceof JetStreamApiError) return 0;
    throw error;
  }
}

/** False where it is gone, so that there is nothing to repeat. */
async function repeat({ jsm, publisher }: Session, stream: string, { place }: Placed): Promise<boolean> {
  const message = place > 0 ? await jsm.streams.getMessage(stream, { seq: place }) : null;
  if (!message) return false;
  const messageId = `${message.header.get('Nats-Msg-Id')}/repeat/${crypto.randomUUID()}`;
  await publisher.publish(message.subject, message.string(), messageId, {
    [repeatHeader]: '1',
    ...(message.header.has(removedHeader) && { [removedHeader]: '1' }),
  });
  return true;
}

/** 0 for what is no event: it has no place in the order. */
function sequencesOf(message: StoredMsg): { first: number; sequence: number } {
  try {
    const { firstSequence, sequence } = decodeEvent(message.subject, message.string());
    return { first: firstSequence, sequence };
  } catch {
    return { first: 0, sequence: 0 };
  }
}
