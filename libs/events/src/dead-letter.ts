/**
 * Events that a subscription gave up on: the message as it was, with the reason, in NEPHOS_DEAD_LETTERS on
 * `nephos-dead.v1.<subscription>.<entity>.<id>`. Written before the event is acknowledged; a crash between
 * leads to the same message id again, which the broker drops.
 */
import type { Session } from './bus.ts';
import { deadLetterRoot } from './streams.ts';
import { encodeToken } from './subject.ts';

export interface DeadLetter {
  readonly subscription: string;
  readonly entity: string;
  readonly id: string;
  /** The subject and body of the message. */
  readonly subject: string;
  readonly body: string;
  /** Its place in the stream; 0 for an event that was read beside it. */
  readonly streamSequence: number;
  readonly attempts: number;
  readonly reason: string;
}

/** The headers of a dead letter. */
export const deadLetterHeaders = {
  reason: 'Nephos-Reason',
  attempts: 'Nephos-Attempts',
  subject: 'Nephos-Subject',
  streamSequence: 'Nephos-Stream-Sequence',
} as const;

const longestReason = 1024;

/** Throws `Unavailable` when the broker did not acknowledge it. */
export async function putDeadLetter(session: Session, letter: DeadLetter): Promise<void> {
  const subject = `${deadLetterRoot}.${letter.subscription}.${encodeToken(letter.entity)}.${encodeToken(letter.id)}`;
  const messageId = `${letter.subscription}/${letter.subject}/${letter.streamSequence}`;
  await session.publisher.publish(subject, letter.body, messageId, {
    [deadLetterHeaders.reason]: letter.reason.replace(/[^\x20-\x7e]+/g, ' ').slice(0, longestReason),
    [deadLetterHeaders.attempts]: String(letter.attempts),
    [deadLetterHeaders.subject]: letter.subject,
    [deadLetterHeaders.streamSequence]: String(letter.streamSequence),
  });
}
