/**
 * Reads from the streams beside a subscription: what a gap hides, the latest state of one entity, a range.
 * Nothing is kept; every function may throw when the session is lost, and is then called again in the next.
 */
import { DeliverPolicy, type JsMsg, type StoredMsg } from '@nats-io/jetstream';
import type { MsgHdrs } from '@nats-io/nats-core';
import type { Session } from './bus.ts';
import { decodeEvent, type EntityEvent } from './cloudevent.ts';
import { streamOf, streams } from './streams.ts';
import { type EventTree, subjectOf } from './subject.ts';

/** An event and where it lies in its stream. */
export interface StreamedEvent {
  readonly event: EntityEvent;
  readonly streamSequence: number;
}

function decoded(message: StoredMsg): StreamedEvent {
  return { event: decodeEvent(message.subject, message.string()), streamSequence: message.seq };
}

/** The first event of the entity at or after a place in the stream, if there is one. */
export async function nextOf(
  session: Session,
  tree: EventTree,
  entity: EntityEvent,
  fromStreamSequence: number,
): Promise<StreamedEvent | undefined> {
  const query = { seq: fromStreamSequence, next_by_subj: subjectOf(tree, entity) };
  const message = await session.jsm.direct.getMessage(streamOf(tree), query);
  return message ? decoded(message) : undefined;
}

/** The newest event of the entity: from the events where they still have one, else from the state stream. */
export async function latestOf(
  session: Session,
  tree: EventTree,
  entity: EntityEvent,
): Promise<EntityEvent | undefined> {
  const query = { last_by_subj: subjectOf(tree, entity) };
  const sources = tree === 'jobs' ? [streams.jobEvents] : [streams.events, streams.state];
  for (const stream of sources) {
    const message = await session.jsm.direct.getMessage(stream, query);
    if (message) return decoded(message).event;
  }
  return undefined;
}

/** Where a range begins and ends; without an end, at what is there when it is asked. */
export interface Range {
  readonly stream: string;
  readonly filter: string;
  readonly from?: number;
  readonly to?: number;
}

/** The messages of a range in order, once each. */
export async function* readRange(
  { js }: Session,
  { stream, filter, from, to }: Range,
): AsyncGenerator<JsMsg> {
  const consumer = await js.consumers.get(stream, {
    filter_subjects: filter,
    inactive_threshold: 60_000_000_000,
    ...(from === undefined
      ? { deliver_policy: DeliverPolicy.All }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: from }),
  });
  let left = (await consumer.info(true)).num_pending;
  if (left === 0) return;
  const messages = await consumer.consume({ expires: 10_000 });
  try {
    for await (const message of messages) {
      if (to !== undefined && message.seq > to) return;
      yield message;
      if ((left -= 1) === 0 || message.info.pending === 0) return;
    }
  } finally {
    await messages.close();
  }
}

/** Where a message of the state stream lies among the events; 0 when that cannot be told. */
export function sourcePlace(headers: MsgHdrs | undefined): number {
  // `NEPHOS_EVENTS <sequence> …` as the broker notes it on what it took from another stream.
  const place = Number(headers?.get('Nats-Stream-Source').split(' ')[1]);
  return Number.isSafeInteger(place) ? place : 0;
}
