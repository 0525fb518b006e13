/** Cuts a filter into tokens, each with the position it begins at. Part of filter.ts. */
import { Invalid } from './errors.ts';

export type Operator = '=' | '<' | '<=' | '>' | '>=';

interface PlainToken {
  readonly kind: 'word' | 'text' | 'open' | 'close' | 'end';
  readonly text: string;
  readonly at: number;
}

interface OperatorToken {
  readonly kind: 'operator';
  readonly operator: Operator;
  readonly text: string;
  readonly at: number;
}

export type FilterToken = PlainToken | OperatorToken;

/** `at` counts characters from 0; people are told from 1. */
export function filterError(what: string, at?: number): Invalid {
  const description = at === undefined ? what : `${what} (at character ${at + 1})`;
  return new Invalid('FILTER_INVALID', `filter: ${description}`, {
    fields: [{ field: 'filter', description }],
  });
}

const space = /\s+/y;
const word = /[A-Za-z0-9_.+/:-]+/y;
const quoted = /"((?:[^"\\]|\\["\\])*)"/y;
const operator = /<=|>=|!=|[=<>:]/y;
const operators: ReadonlySet<string> = new Set<Operator>(['=', '<', '<=', '>', '>=']);

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function isOperator(text: string): text is Operator {
  return operators.has(text);
}

function tokenAt(text: string, at: number): { token: FilterToken; end: number } {
  const first = text[at];
  if (first === '(') return { token: { kind: 'open', text: '(', at }, end: at + 1 };
  if (first === ')') return { token: { kind: 'close', text: ')', at }, end: at + 1 };
  if (first === '"') {
    const found = match(quoted, text, at);
    if (found === null)
      throw filterError('a quoted text does not end, or has an escape other than \\" and \\\\', at);
    const value = (found[1] ?? '').replace(/\\(["\\])/g, '$1');
    return { token: { kind: 'text', text: value, at }, end: at + found[0].length };
  }
  const name = match(word, text, at)?.[0];
  if (name !== undefined) return { token: { kind: 'word', text: name, at }, end: at + name.length };
  const sign = match(operator, text, at)?.[0];
  if (sign === undefined) throw filterError(`${JSON.stringify(first)} has no meaning here`, at);
  if (!isOperator(sign)) throw filterError(`${sign} is not supported: only =, <, <=, > and >=`, at);
  return { token: { kind: 'operator', operator: sign, text: sign, at }, end: at + sign.length };
}

/** The tokens of a filter; the last one is always `end`. */
export function tokens(text: string): FilterToken[] {
  const found: FilterToken[] = [];
  let at = 0;
  while (at < text.length) {
    const gap = match(space, text, at)?.[0];
    if (gap !== undefined) {
      at += gap.length;
      continue;
    }
    const { token, end } = tokenAt(text, at);
    found.push(token);
    at = end;
  }
  found.push({ kind: 'end', text: '', at: text.length });
  return found;
}
