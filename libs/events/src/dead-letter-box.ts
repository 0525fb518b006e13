/**
 * The dead letters that there are: to be listed, looked at, dropped. The broker is the only record of them.
 * A letter's id is its place in the stream and the time it was put there, so that an id of a stream that was made
 * anew since names nothing rather than another letter.
 */
import { JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import type { MsgHdrs } from '@nats-io/nats-core';
import type { Session } from './bus.ts';
import { type DeadLetter, deadLetterHeaders } from './dead-letter.ts';
import { readRange } from './history.ts';
import { deadLetterRoot, streams } from './streams.ts';
import { decodeToken, encodeToken } from './subject.ts';

/** A dead letter and where it lies. `body` is empty where it was not asked for. */
export interface KeptDeadLetter extends DeadLetter {
  readonly letterId: string;
  /** Its place among the dead letters. */
  readonly place: number;
  readonly time: Date;
  readonly redrives: number;
}

/** Which letters are meant; what is left out means any. */
export interface DeadLetterFilter {
  readonly subscription?: string | undefined;
  readonly entity?: string | undefined;
  readonly uid?: string | undefined;
}

/** Those that are there when it is asked, oldest first, without their bodies. */
export async function* listDeadLetters(
  session: Session,
  filter: DeadLetterFilter = {},
  afterPlace = 0,
): AsyncGenerator<KeptDeadLetter> {
  const any = (text: string | undefined): string => (text === undefined ? '*' : encodeToken(text));
  const subject = `${deadLetterRoot}.${filter.subscription ?? '*'}.${any(filter.entity)}.${any(filter.uid)}`;
  const range = { stream: streams.deadLetters, filter: subject, from: afterPlace + 1, headersOnly: true };
  for await (const { subject: at, seq, time, headers } of readRange(session, range)) {
    const letter = letterOf(at, seq, time, headers, '');
    if (letter) yield letter;
  }
}

/** One with its body; undefined where there is none of that id (any more). */
export async function getDeadLetter(session: Session, letterId: string): Promise<KeptDeadLetter | undefined> {
  const seq = Number(/^(\d{1,15})-[0-9a-z]{1,12}$/.exec(letterId)?.[1] ?? 0);
  if (seq < 1) return undefined;
  const message = await session.jsm.streams.getMessage(streams.deadLetters, { seq });
  if (!message) return undefined;
  const letter = letterOf(message.subject, message.seq, message.time, message.header, message.string());
  return letter?.letterId === letterId ? letter : undefined;
}

/** Takes one out for good; false where it was gone. */
export async function dropDeadLetter(session: Session, { place }: KeptDeadLetter): Promise<boolean> {
  try {
    return await session.jsm.streams.deleteMessage(streams.deadLetters, place, false);
  } catch (error) {
    if (error instanceof JetStreamApiError && gone.has(error.code)) return false;
    throw error;
  }
}

/** "No message found", and the broker's other word for it, "sequence not found". */
const gone: ReadonlySet<number> = new Set([JetStreamApiCodes.NoMessageFound, 10_043]);

/** How many each subscription has. */
export async function countDeadLetters({ jsm }: Session): Promise<Map<string, number>> {
  const { state } = await jsm.streams.info(streams.deadLetters, { subjects_filter: `${deadLetterRoot}.>` });
  const counts = new Map<string, number>();
  for (const [subject, count] of Object.entries(state.subjects ?? {})) {
    const subscription = subject.split('.')[2] ?? '';
    counts.set(subscription, (counts.get(subscription) ?? 0) + count);
  }
  return counts;
}

export function letterIdOf(place: number, time: Date): string {
  return `${place}-${time.getTime().toString(36)}`;
}

/** Undefined for what somebody else put among them. */
function letterOf(
  natsSubject: string,
  place: number,
  time: Date,
  headers: MsgHdrs | undefined,
  body: string,
): KeptDeadLetter | undefined {
  const [, , subscription = '', entity = '', id = ''] = natsSubject.split('.');
  const text = (name: string): string => headers?.get(name) ?? '';
  const eventId = text(deadLetterHeaders.eventId);
  try {
    return {
      letterId: letterIdOf(place, time),
      place,
      time,
      subscription,
      entity: decodeToken(entity),
      id: decodeToken(id),
      ...(eventId !== '' && { eventId }),
      subject: text(deadLetterHeaders.subject),
      body,
      streamSequence: Number(text(deadLetterHeaders.streamSequence)) || 0,
      attempts: Number(text(deadLetterHeaders.attempts)) || 0,
      redrives: Number(text(deadLetterHeaders.redrives)) || 0,
      reason: text(deadLetterHeaders.reason),
    };
  } catch {
    return undefined;
  }
}
