// Plans as SQL. Every value is bound; only names that definition.ts checked stand in the text.
// Owner: the SQLite adapter (worker thread). Invariant: the text depends on a query's shape alone, so that
// prepared statements are reused; INDEXED BY makes a plan that would scan fail instead of being slow.
import type { SQLInputValue } from 'node:sqlite';
import type { Scalar } from '../collection.ts';
import type { FieldCondition, Plan } from '../plan.ts';
import { columnOf, indexedRows, indexOf, tableOf } from './tables.ts';

export interface Statement {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
}

/** SQLite has no booleans; JSON's become 1 and 0 in its columns, so they are bound as that. */
export function bindable(value: Scalar): string | number {
  return typeof value === 'boolean' ? Number(value) : value;
}

export function selectRows(collection: string, plan: Plan): Statement {
  const { terms, values } = conditionsOf(plan);
  // A unique index's fields alone decide the order, and the index does not hold the id.
  const order = plan.unique && plan.order.length > 1 ? plan.order.slice(0, -1) : plan.order;
  if (plan.after !== undefined) {
    const columns = order.map(columnOf).join(', ');
    const places = order.map(() => '?').join(', ');
    terms.push(`(${columns}) ${plan.descending ? '<' : '>'} (${places})`);
    values.push(...plan.after.slice(0, order.length).map(bindable));
  }
  const direction = plan.descending ? ' DESC' : '';
  const sql =
    `SELECT id, revision, event_seq, schema, value FROM ${source(collection, plan)} WHERE ${terms.join(' AND ')} ` +
    `ORDER BY ${order.map((path) => columnOf(path) + direction).join(', ')} LIMIT ?`;
  return { sql, values: [...values, plan.limit] };
}

export function selectCount(collection: string, plan: Plan): Statement {
  const { terms, values } = conditionsOf(plan);
  return { sql: `SELECT count(*) FROM ${source(collection, plan)} WHERE ${terms.join(' AND ')}`, values };
}

function source(collection: string, plan: Plan): string {
  const table = tableOf(collection);
  return plan.index === undefined ? table : `${table} INDEXED BY ${indexOf(collection, plan.index)}`;
}

function conditionsOf(plan: Plan): { terms: string[]; values: SQLInputValue[] } {
  const terms = [indexedRows(plan.fields)];
  const values: SQLInputValue[] = [];
  for (const condition of plan.conditions) {
    if ('oneOf' in condition) addOneOf(condition, terms, values);
    else addRange(condition, terms, values);
  }
  return { terms, values };
}

function addOneOf(
  { path, oneOf }: Extract<FieldCondition, { oneOf: unknown }>,
  terms: string[],
  values: SQLInputValue[],
): void {
  const column = columnOf(path);
  terms.push(oneOf.length === 1 ? `${column} = ?` : `${column} IN (${oneOf.map(() => '?').join(', ')})`);
  values.push(...oneOf.map(bindable));
}

/** Numbers sort below text: a range open on that side is closed there, so that it stays within its type. */
function addRange(
  { path, type, lower, upper }: Exclude<FieldCondition, { oneOf: unknown }>,
  terms: string[],
  values: SQLInputValue[],
): void {
  const column = columnOf(path);
  if (lower !== undefined) {
    terms.push(`${column} ${lower.inclusive ? '>=' : '>'} ?`);
    values.push(lower.value);
  } else if (type === 'string') {
    terms.push(`${column} >= ''`);
  }
  if (upper !== undefined) {
    terms.push(`${column} ${upper.inclusive ? '<=' : '<'} ?`);
    values.push(upper.value);
  } else if (type === 'number') {
    terms.push(`${column} < ''`);
  }
}
