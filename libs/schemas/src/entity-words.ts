/**
 * Which words of entities there are. A word is known if the contracts of whoever asks declare it, or if the broker
 * keeps an event under it: a service added later is strange to these contracts, and of each of its entities that exists
 * the state stream keeps the last event. Known words cost no question to the broker.
 */
import { type Bus, filterSubject, streams } from '@nephos/events';
import { fieldInvalid, Unavailable } from '@nephos/service';
import { ownContracts } from './contracts.ts';

/** Jobs have a stream of their own: nothing that filters entities gets them. */
const jobWord = 'job';
const wordForm = /^[a-z][a-z0-9_-]*$/;

/**
 * Throws `Invalid`, naming the request's field and the words there are, for a word that nothing is known by;
 * `Unavailable` where only the broker could tell and it is away.
 */
export async function checkEntityWord(
  { session }: Pick<Bus, 'session'>,
  word: string,
  field: string,
): Promise<void> {
  const words = ownContracts()
    .resources()
    .map(({ entity }) => entity)
    .filter((entity) => entity !== jobWord);
  if (words.includes(word)) return;
  if (wordForm.test(word) && (await isKept(session, word, field))) return;
  throw fieldInvalid(
    field,
    `is ${JSON.stringify(word)}, and there is no such entity; known: ${words.join(', ')}, and any other once it has an event`,
  );
}

async function isKept(session: Bus['session'], entity: string, field: string): Promise<boolean> {
  if (session === undefined)
    throw new Unavailable(
      'SERVICE_UNAVAILABLE',
      `${field}: "${entity}" cannot be looked up, the broker is away`,
    );
  const query = { seq: 1, next_by_subj: filterSubject('entities', { entity }) };
  for (const stream of [streams.state, streams.events])
    if (await session.jsm.streams.getMessage(stream, query)) return true;
  return false;
}
