// Page cursors: the last row's order values, bound to the query that made them.
// Owner: libs/store. Invariant: a cursor that was altered, cut, or made by another query is refused, never
// misread. It is no secret and no authority: conditions always come from the query itself.
import { createHash } from 'node:crypto';
import { Invalid } from '@nephos/service';
import type { Scalar } from './collection.ts';
import { checkScalar } from './values.ts';

const digestBytes = 12;

/** `scope` is everything about the query that must stay the same from page to page. */
export function encodeCursor(scope: string, values: readonly Scalar[]): string {
  const content = JSON.stringify(values);
  return Buffer.concat([digest(scope, content), Buffer.from(content)]).toString('base64url');
}

/** Throws `Invalid` (PAGE_TOKEN_INVALID) unless `encodeCursor` made the cursor for this scope. */
export function decodeCursor(scope: string, cursor: string, length: number): Scalar[] {
  const bytes = Buffer.from(cursor, 'base64url');
  const content = bytes.subarray(digestBytes).toString();
  // Decoding skips characters that are not of the alphabet: only the exact text that was handed out counts.
  const intact = bytes.toString('base64url') === cursor;
  if (!intact || !digest(scope, content).equals(bytes.subarray(0, digestBytes))) throw malformed();
  const values: unknown = JSON.parse(content);
  if (!Array.isArray(values) || values.length !== length) throw malformed();
  return values.map((value) => checkScalar(value, 'cursor'));
}

function digest(scope: string, content: string): Buffer {
  return createHash('sha256').update(`${scope.length}:${scope}${content}`).digest().subarray(0, digestBytes);
}

function malformed(): Invalid {
  return new Invalid('PAGE_TOKEN_INVALID', 'the page token is malformed or belongs to another query');
}
