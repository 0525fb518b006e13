/**
 * Reads from the streams beside a subscription: what a gap hides, the latest state of one entity, a range.
 * Nothing is kept; every function may throw when the session is lost, and is then called again in the next.
 * Single messages are asked of the stream's leader, not the direct way: a copy that lags would call one missing.
 */
import {
  type Consumer,
  type ConsumerMessages,
  DeliverPolicy,
  type JsMsg,
  type StoredMsg,
} from '@nats-io/jetstream';
import type { MsgHdrs } from '@nats-io/nats-core';
import type { Session } from './bus.ts';
import { decodeEvent, type EntityEvent } from './cloudevent.ts';
import { streamOf, streams } from './streams.ts';
import { type EventTree, subjectOf } from './subject.ts';

/** An event and where it lies in its stream. */
export interface StreamedEvent {
  readonly event: EntityEvent;
  readonly body: string;
  readonly natsSubject: string;
  readonly streamSequence: number;
}

/** Undefined for what is no event: somebody else's message must not stand in an entity's way. */
function decoded(message: StoredMsg): StreamedEvent | undefined {
  const { subject: natsSubject, seq: streamSequence } = message;
  const body = message.string();
  try {
    return { event: decodeEvent(natsSubject, body), body, natsSubject, streamSequence };
  } catch {
    return undefined;
  }
}

/** The first event of the entity at or after a place in the stream, if there is one. */
export async function nextOf(
  session: Session,
  tree: EventTree,
  entity: EntityEvent,
  fromStreamSequence: number,
): Promise<StreamedEvent | undefined> {
  for (let seq = fromStreamSequence; ; ) {
    const query = { seq, next_by_subj: subjectOf(tree, entity) };
    const message = await session.jsm.streams.getMessage(streamOf(tree), query);
    if (!message) return undefined;
    const found = decoded(message);
    if (found) return found;
    seq = message.seq + 1;
  }
}

/** The newest event of the entity: from the events where they still have one, else from the state stream. */
export async function latestOf(
  session: Session,
  tree: EventTree,
  entity: EntityEvent,
): Promise<StreamedEvent | undefined> {
  const query = { last_by_subj: subjectOf(tree, entity) };
  const sources = tree === 'jobs' ? [streams.jobEvents] : [streams.events, streams.state];
  for (const stream of sources) {
    const message = await session.jsm.streams.getMessage(stream, query);
    const found = message ? decoded(message) : undefined;
    if (found) return found;
  }
  return undefined;
}

/** Where a range begins and ends; without an end, at what is there when it is asked. */
export interface Range {
  readonly stream: string;
  readonly filter: string;
  readonly from?: number;
  readonly to?: number;
  /** Messages without their bodies. */
  readonly headersOnly?: boolean;
}

const fetchSize = 500;
/** How long to wait for messages that were there when the reading began: others may take them away meanwhile. */
const fetchMs = 2_000;

/** The messages of a range in order, once each. Throws when the session is lost. */
export async function* readRange(session: Session, range: Range): AsyncGenerator<JsMsg> {
  const { stream, filter, from, to, headersOnly = false } = range;
  const consumer = await session.js.consumers.get(stream, {
    filter_subjects: filter,
    headers_only: headersOnly,
    inactive_threshold: 60_000_000_000,
    ...(from === undefined
      ? { deliver_policy: DeliverPolicy.All }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: from }),
  });
  try {
    let left = (await consumer.info(true)).num_pending;
    while (left > 0) {
      const wanted = Math.min(left, fetchSize);
      let came = 0;
      for await (const message of await fetched(session, consumer, wanted)) {
        came += 1;
        if (to !== undefined && message.seq > to) return;
        yield message;
        left = Math.min(left - 1, message.info.pending);
      }
      session.signal.throwIfAborted();
      if (came < wanted) left = Math.min(left, (await consumer.info()).num_pending);
    }
  } finally {
    if (!session.signal.aborted) await consumer.delete().catch(() => false);
  }
}

async function fetched(session: Session, consumer: Consumer, wanted: number): Promise<ConsumerMessages> {
  const messages = await consumer.fetch({ max_messages: wanted, expires: fetchMs });
  const onAbort = (): void => messages.stop();
  session.signal.addEventListener('abort', onAbort, { once: true });
  void messages.closed().then(() => session.signal.removeEventListener('abort', onAbort));
  return messages;
}

/** Where a message of the state stream lies among the events; 0 when that cannot be told. */
export function sourcePlace(headers: MsgHdrs | undefined): number {
  // `NEPHOS_EVENTS <sequence> …` as the broker notes it on what it took from another stream.
  const place = Number(headers?.get('Nats-Stream-Source').split(' ')[1]);
  return Number.isSafeInteger(place) ? place : 0;
}
