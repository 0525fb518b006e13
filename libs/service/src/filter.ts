/**
 * Filters of List methods: the part of AIP-160 that an index can serve. Comparisons joined by AND:
 * `state = "RUNNING" AND header.labels.tier = "web" AND create_time > "2026-01-01T00:00:00Z"`; a `*` at the end of a
 * string asks for a prefix. Which fields may be named, and where the store has them, is the caller's table. Pure.
 * Bounded: 2 KiB of text, 32 comparisons, 8 parentheses deep.
 */
import { Invalid } from './errors.ts';
import { type FilterToken, filterError, type Operator, tokens } from './filter-tokens.ts';

/** A field that a filter may name. */
export interface FilterField {
  /** Where the store has it: a dotted path. */
  readonly path: string;
  /** `timestamp`: RFC 3339, compared as UTC text; `map`: `name.key = "value"`. */
  readonly type: 'string' | 'number' | 'boolean' | 'timestamp' | 'map';
  /** Strings only: nothing else is allowed, e.g. the names of an enum. */
  readonly values?: readonly string[];
}

export type FilterFields = Readonly<Record<string, FilterField>>;

/** One comparison; all of a filter's must hold. */
export interface FilterCondition {
  readonly path: string;
  readonly op: Operator | 'prefix';
  readonly value: string | number | boolean;
}

const most = { bytes: 2048, comparisons: 32, depth: 8 } as const;

interface Reader {
  readonly tokens: readonly FilterToken[];
  readonly fields: FilterFields;
  readonly found: FilterCondition[];
  at: number;
}

/** The conditions of a filter; none for an empty one. Throws Invalid FILTER_INVALID with the position. */
export function parseFilter(text: string, fields: FilterFields): FilterCondition[] {
  if (Buffer.byteLength(text) > most.bytes) throw filterError(`is longer than ${most.bytes} bytes`);
  const reader: Reader = { tokens: tokens(text), fields, found: [], at: 0 };
  if (peek(reader).kind === 'end') return [];
  readAll(reader, 0);
  const rest = peek(reader);
  if (rest.kind === 'word' && rest.text === 'OR') throw filterError('OR is not supported: only AND', rest.at);
  if (rest.kind !== 'end') throw filterError(`expected AND or the end, found ${show(rest)}`, rest.at);
  return reader.found;
}

function peek(reader: Reader): FilterToken {
  // The list ends with an `end` token, which is never taken.
  return reader.tokens[reader.at] as FilterToken;
}

function take(reader: Reader): FilterToken {
  const token = peek(reader);
  if (token.kind !== 'end') reader.at += 1;
  return token;
}

function show(token: FilterToken): string {
  return token.kind === 'end' ? 'the end' : JSON.stringify(token.text);
}

function readAll(reader: Reader, depth: number): void {
  readOne(reader, depth);
  for (let next = peek(reader); next.kind === 'word' && next.text === 'AND'; next = peek(reader)) {
    take(reader);
    readOne(reader, depth);
  }
}

function readOne(reader: Reader, depth: number): void {
  const token = peek(reader);
  if (token.kind !== 'open') return readComparison(reader);
  if (depth === most.depth) throw filterError(`is nested deeper than ${most.depth}`, token.at);
  take(reader);
  readAll(reader, depth + 1);
  const close = take(reader);
  if (close.kind !== 'close') throw filterError(`expected ")", found ${show(close)}`, close.at);
}

function readComparison(reader: Reader): void {
  const name = take(reader);
  if (name.kind !== 'word') throw filterError(`expected a field's name, found ${show(name)}`, name.at);
  if (name.text === 'NOT') throw filterError('NOT is not supported', name.at);
  const { field, path } = findField(reader.fields, name);
  const op = take(reader);
  if (op.kind !== 'operator') throw filterError(`expected =, <, <=, > or >=, found ${show(op)}`, op.at);
  const value = take(reader);
  if (value.kind !== 'text' && value.kind !== 'word') {
    throw filterError(`expected a value, found ${show(value)}`, value.at);
  }
  if (reader.found.length === most.comparisons)
    throw filterError(`has more than ${most.comparisons} comparisons`);
  reader.found.push(conditionOf(path, field, op.operator, value, op.at));
}

function findField(fields: FilterFields, { text, at }: FilterToken): { field: FilterField; path: string } {
  const exact = Object.hasOwn(fields, text) ? fields[text] : undefined;
  if (exact !== undefined) {
    if (exact.type === 'map') throw filterError(`${text} needs a key: ${text}.key = "value"`, at);
    return { field: exact, path: exact.path };
  }
  for (const [name, field] of Object.entries(fields)) {
    if (field.type !== 'map' || !text.startsWith(`${name}.`)) continue;
    const key = text.slice(name.length + 1);
    // A store reads a dot as a step down; see the label's rules in resource.ts.
    if (key.includes('.')) throw filterError(`${text}: keys with a dot cannot be filtered by`, at);
    return { field, path: `${field.path}.${key}` };
  }
  throw filterError(`${text} cannot be filtered by; can be: ${Object.keys(fields).join(', ')}`, at);
}

function conditionOf(
  path: string,
  field: FilterField,
  op: Operator,
  { text, kind, at }: FilterToken,
  opAt: number,
): FilterCondition {
  switch (field.type) {
    case 'number': {
      const value = Number(text);
      if (!/^-?\d+(\.\d+)?$/.test(text) || !Number.isFinite(value))
        throw filterError(`${text} is no number`, at);
      return { path, op, value };
    }
    case 'boolean':
      if (text !== 'true' && text !== 'false') throw filterError(`${text} is neither true nor false`, at);
      if (op !== '=') throw filterError('true and false only take =', opAt);
      return { path, op, value: text === 'true' };
    case 'timestamp':
      return { path, op, value: timestampOf(text, at) };
    default:
      return textCondition(path, field, op, { text, kind, at }, opAt);
  }
}

function textCondition(
  path: string,
  field: FilterField,
  op: Operator,
  { text, kind, at }: Pick<FilterToken, 'text' | 'kind' | 'at'>,
  opAt: number,
): FilterCondition {
  if (kind === 'text' && text.endsWith('*')) {
    if (op !== '=') throw filterError('a prefix only takes =', opAt);
    if (field.values !== undefined) throw filterError('a prefix is not allowed here', at);
    const value = text.slice(0, -1);
    if (value === '' || value.includes('*'))
      throw filterError('only one * at the end of a text is allowed', at);
    return { path, op: 'prefix', value };
  }
  if (field.values !== undefined && !field.values.includes(text)) {
    throw filterError(`${JSON.stringify(text)} is not one of ${field.values.join(', ')}`, at);
  }
  return { path, op, value: text };
}

const timestampForm = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

function timestampOf(text: string, at: number): string {
  const time = timestampForm.test(text) ? new Date(text) : undefined;
  if (time === undefined || Number.isNaN(time.getTime())) {
    throw filterError(`${JSON.stringify(text)} is no RFC 3339 time such as "2026-01-31T12:00:00Z"`, at);
  }
  return time.toISOString();
}

/** What a store's query says of one path. */
export type FilterClause =
  | string
  | number
  | boolean
  | { readonly prefix: string }
  | {
      readonly gt?: string | number;
      readonly gte?: string | number;
      readonly lt?: string | number;
      readonly lte?: string | number;
    };

const rangeKeys = { '<': 'lt', '<=': 'lte', '>': 'gt', '>=': 'gte' } as const;

/** The conditions as the `where` of a store's query. Throws Invalid where a path is bound twice. */
export function whereOf(conditions: readonly FilterCondition[]): Record<string, FilterClause> {
  const where: Record<string, FilterClause> = {};
  for (const { path, op, value } of conditions) {
    const before = where[path];
    if (op === '=' || op === 'prefix') {
      if (before !== undefined) throw boundTwice(path);
      where[path] = op === 'prefix' ? { prefix: String(value) } : value;
      continue;
    }
    const key = rangeKeys[op];
    const isRange = typeof before === 'object' && !('prefix' in before);
    if (typeof value === 'boolean' || (before !== undefined && (!isRange || key in before)))
      throw boundTwice(path);
    where[path] = { ...(isRange ? before : {}), [key]: value };
  }
  return where;
}

function boundTwice(path: string): Invalid {
  return filterError(`${path} is compared twice in the same way`);
}
