// Turns a query into a plan: which index serves it, which of its fields are fixed, what bounds the rest.
// Owner: libs/store; both adapters carry out the same plans. Pure.
// Invariant: a plan reads one index, in order, from one position: its cost never grows with the collection.
import { Invalid } from '@nephos/service';
import type { CollectionDefinition, Condition, Json, Query, Scalar, Where } from './collection.ts';
import { decodeCursor, encodeCursor } from './cursor.ts';
import { checkScalar, prefixEnd, scalarAt } from './values.ts';

export interface Bound {
  readonly value: string | number;
  readonly inclusive: boolean;
}

/** One field's condition: one of some values, or between bounds of one type. */
export type FieldCondition =
  | { readonly path: string; readonly oneOf: readonly Scalar[] }
  | {
      readonly path: string;
      readonly type: 'string' | 'number';
      readonly lower: Bound | undefined;
      readonly upper: Bound | undefined;
    };

export interface Plan {
  /** `undefined`: by id. */
  readonly index: string | undefined;
  /** The index's fields, without id. A document that lacks one is not in the result. */
  readonly fields: readonly string[];
  readonly unique: boolean;
  readonly conditions: readonly FieldCondition[];
  /** What orders the result: the index's fields that are not fixed to one value, then id. */
  readonly order: readonly string[];
  readonly descending: boolean;
  readonly limit: number;
  /** Values of `order` that the result lies behind. */
  readonly after: readonly Scalar[] | undefined;
  /** Binds cursors to this query. */
  readonly scope: string;
}

const maxLimit = 1000;
const maxOneOf = 100;

/** Throws `Invalid` when no index serves the query, or the cursor is not of this query. */
export function planFind<T>(definition: CollectionDefinition<T>, query: Query): Plan {
  if (!Number.isSafeInteger(query.limit) || query.limit < 1 || query.limit > maxLimit) {
    throw new Invalid('FIELD_INVALID', `limit has to be from 1 to ${maxLimit}, not ${query.limit}`);
  }
  const plan = planWhere(definition, query.where ?? {}, query.orderBy, query.descending ?? false);
  const after =
    query.cursor === undefined ? undefined : decodeCursor(plan.scope, query.cursor, plan.order.length);
  return { ...plan, limit: query.limit, after };
}

/** Throws `Invalid` when no index serves the conditions. */
export function planCount<T>(definition: CollectionDefinition<T>, where: Where): Plan {
  return planWhere(definition, where, undefined, false);
}

/** Whether no document can match: a choice among no values. */
export function isEmpty({ conditions }: Plan): boolean {
  return conditions.some((condition) => 'oneOf' in condition && condition.oneOf.length === 0);
}

/** The cursor behind a document, read from the value as it is stored. */
export function cursorBehind(plan: Plan, id: string, value: Json): string {
  const values = plan.order.map((path) => (path === 'id' ? id : (scalarAt(value, path) as Scalar)));
  return encodeCursor(plan.scope, values);
}

function planWhere<T>(
  definition: CollectionDefinition<T>,
  where: Where,
  orderBy: string | undefined,
  descending: boolean,
): Plan {
  const conditions = Object.entries(where).map(([path, condition]) => normalise(path, condition));
  const index = chooseIndex(definition, conditions, orderBy);
  const fields = index === undefined ? [] : (definition.indexes[index]?.fields ?? []);
  const fixed = new Set(
    conditions.filter((one) => 'oneOf' in one && one.oneOf.length === 1).map((one) => one.path),
  );
  return {
    index,
    fields,
    unique: index !== undefined && definition.indexes[index]?.unique === true,
    conditions,
    order: [...fields.filter((field) => !fixed.has(field)), 'id'],
    descending,
    limit: maxLimit,
    after: undefined,
    scope: JSON.stringify([
      definition.name,
      index ?? 'id',
      descending,
      conditions.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    ]),
  };
}

function chooseIndex<T>(
  definition: CollectionDefinition<T>,
  conditions: readonly FieldCondition[],
  orderBy: string | undefined,
): string | undefined {
  const onFields = conditions.filter((condition) => condition.path !== 'id');
  const asked = onFields.map((condition) => condition.path).join(', ');
  if (orderBy === 'id' || (orderBy === undefined && onFields.length === 0)) {
    if (onFields.length === 0) return undefined;
    throw unserved(definition.name, `ordered by id there can be no condition on ${asked}`);
  }
  if (orderBy !== undefined) {
    const index = Object.hasOwn(definition.indexes, orderBy) ? definition.indexes[orderBy] : undefined;
    if (index === undefined) throw unserved(definition.name, `there is no index ${orderBy}`);
    if (serves(index.fields, onFields)) return orderBy;
    throw unserved(definition.name, `the index ${orderBy} does not serve conditions on ${asked}`);
  }
  for (const [name, { fields }] of Object.entries(definition.indexes)) {
    if (fields.length === onFields.length && serves(fields, onFields)) return name;
  }
  throw unserved(definition.name, `no index has exactly the fields ${asked} (name a longer one in orderBy)`);
}

/** Conditions on leading fields only, and after a range none. */
function serves(fields: readonly string[], conditions: readonly FieldCondition[]): boolean {
  const byPath = new Map(conditions.map((condition) => [condition.path, condition]));
  let met = 0;
  for (const field of fields) {
    const condition = byPath.get(field);
    if (condition === undefined) break;
    met += 1;
    if (!('oneOf' in condition)) break;
  }
  return met === conditions.length;
}

function normalise(path: string, condition: Condition): FieldCondition {
  if (typeof condition !== 'object' || condition === null)
    return { path, oneOf: [checkScalar(condition, path)] };
  if ('in' in condition) return oneOf(path, condition.in);
  if ('prefix' in condition) {
    const end = prefixEnd(String(checkScalar(condition.prefix, path)));
    const upper = end === undefined ? undefined : { value: end, inclusive: false };
    return { path, type: 'string', lower: { value: condition.prefix, inclusive: true }, upper };
  }
  return range(path, condition);
}

function oneOf(path: string, values: readonly Scalar[]): FieldCondition {
  if (values.length > maxOneOf) {
    throw new Invalid('FILTER_INVALID', `${path}: more than ${maxOneOf} values to choose from`);
  }
  return { path, oneOf: [...new Set(values.map((value) => checkScalar(value, path)))] };
}

function range(
  path: string,
  condition: Exclude<Condition, Scalar | { prefix: string } | { in: object }>,
): FieldCondition {
  const { gte, gt, lt, lte } = condition;
  const lower = bound(path, gte, gt);
  const upper = bound(path, lte, lt);
  const types = new Set([lower, upper].flatMap((one) => (one === undefined ? [] : [typeof one.value])));
  const [type] = types;
  if (types.size !== 1 || (type !== 'string' && type !== 'number')) {
    throw new Invalid(
      'FILTER_INVALID',
      `${path}: a range needs a bound, and both of one type (text or number)`,
    );
  }
  return { path, type, lower, upper };
}

function bound(
  path: string,
  inclusive: string | number | undefined,
  exclusive: string | number | undefined,
): Bound | undefined {
  if (inclusive !== undefined && exclusive !== undefined) {
    throw new Invalid('FILTER_INVALID', `${path}: the same side of the range is bounded twice`);
  }
  const value = inclusive ?? exclusive;
  if (value === undefined) return undefined;
  checkScalar(value, path);
  return { value, inclusive: inclusive !== undefined };
}

function unserved(collection: string, why: string): Invalid {
  return new Invalid('FILTER_INVALID', `collection ${collection}: ${why}`);
}
