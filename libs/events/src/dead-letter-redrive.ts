/**
 * Gives a dead letter to its own subscription again, and tells what came of it.
 * The letter itself is the record: it is sent to whoever reads for that subscription now, on a plain subject of that
 * subscription's own, and taken out (or replaced by one with a higher count) once the answer is there. A crash
 * anywhere leaves the letter; nothing waits in a queue. Subscribers take part in redrive-listener.ts.
 */
import { createInbox, type Msg, headers as newHeaders } from '@nats-io/nats-core';
import type { Clock } from '@nephos/service';
import type { Session } from './bus.ts';
import { deadLetterHeaders, putDeadLetter } from './dead-letter.ts';
import { dropDeadLetter, getDeadLetter, type KeptDeadLetter, letterIdOf } from './dead-letter-box.ts';
import { streams } from './streams.ts';
import { type EventTree, subjectRoots } from './subject.ts';

/** Headers of the question and its answers, beside those of dead letters. */
export const redriveHeaders = { letter: 'Nephos-Letter', answer: 'Nephos-Redrive' } as const;

/** What a subscriber answers: `working` any number of times, then one of the others. */
export type RedriveAnswer = 'working' | 'handled' | 'failed';

/** Where a subscription hears of letters to be tried again. */
export function redriveSubject(tree: EventTree, subscription: string): string {
  return `nephos-redrive.v1.${tree}.${subscription}`;
}

export type RedriveOutcome =
  | { readonly outcome: 'handled' | 'nobody-reads' | 'unknown' | 'gone' }
  | { readonly outcome: 'failed'; readonly reason: string; readonly newLetterId: string };

/** A subscriber that has a letter says so at least each 10 s; one that was silent for this long is gone. */
const silenceMs = 25_000;

/** Throws when the session is lost. */
export async function redriveDeadLetter(
  session: Session,
  letterId: string,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<RedriveOutcome> {
  const letter = await getDeadLetter(session, letterId);
  if (!letter) return { outcome: 'gone' };
  const ends = AbortSignal.any([session.signal, signal]);
  const answer = await ask(session, letter, clock, ends);
  if (answer.kind === 'handled') await dropDeadLetter(session, letter);
  if (answer.kind !== 'failed') return { outcome: answer.kind };
  const { reason } = answer;
  const { attempts, redrives } = letter;
  const again = { ...letter, attempts: attempts + 1, redrives: redrives + 1, reason };
  const place = await putDeadLetter(session, again);
  // Only now: a crash between leaves two letters of one event, never none.
  await dropDeadLetter(session, letter);
  const stored = await session.jsm.streams.getMessage(streams.deadLetters, { seq: place });
  return { outcome: 'failed', reason, newLetterId: stored ? letterIdOf(place, stored.time) : '' };
}

type Answer =
  | { readonly kind: 'handled' | 'nobody-reads' | 'unknown' }
  | { readonly kind: 'failed'; readonly reason: string };

async function ask(
  session: Session,
  letter: KeptDeadLetter,
  clock: Clock,
  ends: AbortSignal,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  using open = new DisposableStack();
  const inbox = createInbox();
  let silence = clock.timer(silenceMs, () => resolve({ kind: 'unknown' }));
  open.defer(() => silence[Symbol.dispose]());
  const replies = session.connection.subscribe(inbox, {
    callback: (error, message) => {
      if (error) return reject(error);
      const answer = answerIn(message);
      if (answer) return resolve(answer);
      silence[Symbol.dispose]();
      silence = clock.timer(silenceMs, () => resolve({ kind: 'unknown' }));
    },
  });
  open.defer(() => replies.unsubscribe());
  const onAbort = (): void => reject(ends.reason as Error);
  ends.addEventListener('abort', onAbort, { once: true });
  open.defer(() => ends.removeEventListener('abort', onAbort));
  ends.throwIfAborted();
  const tree = letter.subject.startsWith(`${subjectRoots.jobs}.`) ? 'jobs' : 'entities';
  const subject = redriveSubject(tree, letter.subscription);
  session.connection.publish(subject, letter.body, { headers: headersOf(letter), reply: inbox });
  return await promise;
}

function headersOf(letter: KeptDeadLetter) {
  const headers = newHeaders();
  headers.set(redriveHeaders.letter, letter.letterId);
  headers.set(deadLetterHeaders.subject, letter.subject);
  headers.set(deadLetterHeaders.attempts, String(letter.attempts));
  return headers;
}

/** Undefined for a sign of life. */
function answerIn(message: Msg): Answer | undefined {
  const { headers } = message;
  if (headers?.code === 503) return { kind: 'nobody-reads' };
  const answer = headers?.get(redriveHeaders.answer) as RedriveAnswer | undefined;
  if (answer === 'handled') return { kind: 'handled' };
  if (answer === 'failed') return { kind: 'failed', reason: message.string() };
  return undefined;
}
