// Pages of documents for List methods (AIP-132, AIP-158, AIP-160): a filter in words, newest first.
// Owner: libs/store. One condition is served by an index, the others are checked on what it yields; a call looks
// at a bounded number of documents and may then return a short page with a token, which AIP-158 allows.
// Invariant: following the tokens yields each matching document that was there all along exactly once.
import {
  type FilterCondition,
  type FilterField,
  pageSizeOf,
  pageTokenOf,
  parseFilter,
  readPageToken,
  whereOf,
} from '@nephos/service';
import type { Collection, IndexDefinition, Json, Page, Query, Stored, Where } from './collection.ts';
import { valueAt } from './paths.ts';

/** What a List request says. Field names as in the protos. */
export interface ListRequest {
  readonly filter: string;
  readonly pageSize: number;
  readonly pageToken: string;
}

/** A field that a filter may name. */
export interface ListField extends FilterField {
  /** Enums: the value as stored, by the name that the filter uses. */
  readonly stored?: Readonly<Record<string, string>>;
}

export type ListFields = Readonly<Record<string, ListField>>;

/** An enum field of a filter, by its stored values: `running` is named `RUNNING`, `drain-blocked` `DRAIN_BLOCKED`. */
export function enumField(path: string, storedValues: readonly string[]): ListField {
  const stored = Object.fromEntries(
    storedValues.map((value) => [value.toUpperCase().replaceAll('-', '_'), value]),
  );
  return { path, type: 'string', values: Object.keys(stored), stored };
}

export interface ListOptions<T> {
  readonly indexes: Readonly<Record<string, IndexDefinition>>;
  /** What the filter may name. Put first what narrows most: of several, the first with an index is used. */
  readonly fields: ListFields;
  /** A condition of the method's own, e.g. that deleted resources are hidden; part of the page token. */
  readonly where?: { readonly key: string; matches(value: T): boolean };
}

const batchSize = 200;
const maxBatches = 50;

/** Throws Invalid FILTER_INVALID, PAGE_TOKEN_INVALID, FIELD_INVALID. */
export async function listPage<T>(
  collection: Pick<Collection<T>, 'find'>,
  request: ListRequest,
  { indexes, fields, where }: ListOptions<T>,
): Promise<{ readonly items: Stored<T>[]; readonly nextPageToken: string }> {
  const conditions = asStored(parseFilter(request.filter, fields), fields);
  const most = pageSizeOf(request.pageSize);
  const mark = [request.filter, where?.key ?? ''];
  let cursor = readPageToken(request.pageToken, mark);
  const { query, rest } = plan(conditions, indexes, fields);
  const matches = ({ value }: Stored<T>): boolean =>
    (where?.matches(value) ?? true) && rest.every((condition) => holds(condition, value as unknown as Json));
  const everyMatches = rest.length === 0 && where === undefined;
  const items: Stored<T>[] = [];
  for (let batch = 0; batch < maxBatches && items.length < most; batch += 1) {
    const wanted = most - items.length;
    const limit = everyMatches ? wanted : Math.max(wanted, batchSize);
    const asked = { ...query, limit, cursors: true, ...(cursor !== undefined && { cursor }) };
    const page: Page<T> = await collection.find(asked);
    const used = takeMatching(page.items, matches, items, most);
    cursor = used === page.items.length ? page.nextCursor : page.cursors?.[used - 1];
    if (cursor === undefined) break;
  }
  return { items, nextPageToken: pageTokenOf(cursor, mark) };
}

/** Adds matching documents until there are enough; returns how many were looked at. */
function takeMatching<T>(
  from: readonly Stored<T>[],
  matches: (stored: Stored<T>) => boolean,
  into: Stored<T>[],
  most: number,
): number {
  let used = 0;
  for (const stored of from) {
    if (into.length === most) break;
    used += 1;
    if (matches(stored)) into.push(stored);
  }
  return used;
}

function asStored(conditions: readonly FilterCondition[], fields: ListFields): FilterCondition[] {
  const renamed = new Map(Object.values(fields).map(({ path, stored }) => [path, stored]));
  return conditions.map((condition) => {
    const value = renamed.get(condition.path)?.[String(condition.value)];
    return value === undefined ? condition : { ...condition, value };
  });
}

/** Which index serves, and what it leaves to be checked. */
function plan(
  conditions: readonly FilterCondition[],
  indexes: Readonly<Record<string, IndexDefinition>>,
  fields: ListFields,
): { readonly query: Omit<Query, 'limit' | 'cursor'>; readonly rest: readonly FilterCondition[] } {
  const order = Object.values(fields).map(({ path }) => path);
  const byPreference = conditions
    .filter(({ op }) => op === '=')
    .sort((a, b) => order.indexOf(a.path) - order.indexOf(b.path));
  for (const condition of byPreference) {
    const index = Object.entries(indexes).find(
      ([, { fields: indexed }]) => indexed.length === 1 && indexed[0] === condition.path,
    );
    if (index === undefined) continue;
    const where: Where = whereOf([condition]);
    const rest = conditions.filter((other) => other !== condition);
    return { query: { where, orderBy: index[0], descending: true }, rest };
  }
  return { query: { orderBy: 'id', descending: true }, rest: conditions };
}

function holds({ path, op, value: wanted }: FilterCondition, document: Json): boolean {
  const value = valueAt(document, path);
  if (op === '=') return value === wanted;
  if (op === 'prefix') return typeof value === 'string' && value.startsWith(String(wanted));
  if (typeof value !== typeof wanted || (typeof value !== 'string' && typeof value !== 'number'))
    return false;
  switch (op) {
    case '<':
      return value < (wanted as typeof value);
    case '<=':
      return value <= (wanted as typeof value);
    case '>':
      return value > (wanted as typeof value);
    case '>=':
      return value >= (wanted as typeof value);
  }
}
