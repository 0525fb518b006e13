/**
 * Events that a subscription gave up on: the message as it was, with the reason, in NEPHOS_DEAD_LETTERS on
 * `nephos-dead.v1.<subscription>.<entity>.<id>`. Written before the event is acknowledged; a crash between
 * leads to the same message id again, which the broker drops.
 */
import { headerRoom } from './bounded-event.ts';
import type { Session } from './bus.ts';
import { deadLetterRoot } from './streams.ts';
import { encodeToken } from './subject.ts';

export interface DeadLetter {
  readonly subscription: string;
  readonly entity: string;
  readonly id: string;
  /** Of the event; undefined for what is none. */
  readonly eventId?: string;
  /** The subject and body of the message. */
  readonly subject: string;
  readonly body: string;
  /** Its place in the stream; 0 for an event that was read beside it. */
  readonly streamSequence: number;
  /** Tries, those of redrives included. */
  readonly attempts: number;
  readonly reason: string;
  /** How often it was given to its subscription again by hand. Default 0. */
  readonly redrives?: number;
}

/** The headers of a dead letter. */
export const deadLetterHeaders = {
  reason: 'Nephos-Reason',
  attempts: 'Nephos-Attempts',
  subject: 'Nephos-Subject',
  streamSequence: 'Nephos-Stream-Sequence',
  eventId: 'Nephos-Event-Id',
  redrives: 'Nephos-Redrives',
} as const;

const longestReason = 1024;

/** Returns its place among the dead letters. Throws `Unavailable` when the broker did not acknowledge it. */
export async function putDeadLetter(session: Session, letter: DeadLetter): Promise<number> {
  const { eventId, redrives = 0 } = letter;
  const subject = `${deadLetterRoot}.${letter.subscription}.${encodeToken(letter.entity)}.${encodeToken(letter.id)}`;
  // Two events that were read beside the stream have no place in it to tell them apart by.
  const mark = `${letter.subscription}/${eventId ?? `${letter.subject}/${letter.streamSequence}`}`;
  const fits = Buffer.byteLength(letter.body) <= session.publisher.maxPayload - headerRoom;
  const reason = fits ? letter.reason : `${letter.reason} (its body is too large to be kept here)`;
  const messageId = redrives === 0 ? mark : `${mark}/redriven/${redrives}`;
  const { streamSequence } = await session.publisher.publish(subject, fits ? letter.body : '', messageId, {
    [deadLetterHeaders.reason]: inHeader(reason),
    [deadLetterHeaders.attempts]: String(letter.attempts),
    [deadLetterHeaders.subject]: letter.subject,
    [deadLetterHeaders.streamSequence]: String(letter.streamSequence),
    ...(eventId !== undefined && { [deadLetterHeaders.eventId]: inHeader(eventId) }),
    ...(redrives > 0 && { [deadLetterHeaders.redrives]: String(redrives) }),
  });
  return streamSequence;
}

/** Headers hold plain ASCII on one line. */
export function inHeader(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, longestReason);
}
