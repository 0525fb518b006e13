/** Filters over dead letters: what the caller wrote, as a test of one letter and what narrows the reading. Pure. */
import { type FilterCondition, type FilterFields, parseFilter } from '@nephos/service';

/** What of a letter can be filtered by. */
export interface FilteredLetter {
  readonly subscription: string;
  readonly entity: string;
  readonly id: string;
  readonly time: Date;
}

export interface LetterFilter {
  /** Every letter meant has these. */
  readonly exact: { readonly subscription?: string; readonly entity?: string; readonly uid?: string };
  readonly isEmpty: boolean;
  means(letter: FilteredLetter): boolean;
}

const fields: FilterFields = {
  subscription: { path: 'subscription', type: 'string' },
  entity: { path: 'entity', type: 'string' },
  uid: { path: 'uid', type: 'string' },
  time: { path: 'time', type: 'timestamp' },
};

/** Only such names can be part of a broker's filter as they are. */
const subscriptionWord = /^[A-Za-z0-9_-]{1,64}$/;

/** Throws `Invalid`. */
export function letterFilterOf(text: string): LetterFilter {
  const conditions = parseFilter(text, fields);
  const exact = Object.fromEntries(
    conditions
      .filter(({ path, op, value }) => op === '=' && path !== 'time' && isNarrowing(path, String(value)))
      .map(({ path, value }) => [path, String(value)]),
  );
  return {
    exact,
    isEmpty: conditions.length === 0,
    means: (letter) => conditions.every((condition) => holds(condition, letter)),
  };
}

function isNarrowing(path: string, value: string): boolean {
  return path !== 'subscription' || subscriptionWord.test(value);
}

function holds(
  { path, op, value }: FilterCondition,
  { subscription, entity, id, time }: FilteredLetter,
): boolean {
  // Times in this form are ordered as texts are.
  const all: Readonly<Record<string, string>> = { subscription, entity, uid: id, time: time.toISOString() };
  const actual = all[path] ?? '';
  const wanted = String(value);
  switch (op) {
    case '=':
      return actual === wanted;
    case 'prefix':
      return actual.startsWith(wanted);
    case '<':
      return actual < wanted;
    case '<=':
      return actual <= wanted;
    case '>':
      return actual > wanted;
    case '>=':
      return actual >= wanted;
  }
}
