/**
 * Page sizes and tokens of List methods (AIP-158). A token carries the store's cursor and a mark of the query it
 * belongs to; it is no secret and holds nothing but a position.
 */
import { createHash } from 'node:crypto';
import { Invalid } from './errors.ts';
import { fieldInvalid } from './resource.ts';

export interface PageBounds {
  readonly standard?: number;
  readonly most?: number;
}

/** How many to return: 0 is the default (50), more than the most (500) is the most, below 0 is refused. */
export function pageSizeOf(asked: number, { standard = 50, most = 500 }: PageBounds = {}): number {
  if (asked < 0) throw fieldInvalid('page_size', `is ${asked}; allowed: 0 to ${most}`);
  return asked === 0 ? standard : Math.min(asked, most);
}

function markOf(query: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(query)).digest('base64url').slice(0, 12);
}

/** The token of the next page; empty where there is none. `query` is all that must not change between pages. */
export function pageTokenOf(cursor: string | undefined, query: readonly string[]): string {
  if (cursor === undefined || cursor === '') return '';
  return Buffer.from(`${markOf(query)}.${cursor}`).toString('base64url');
}

/** The cursor of a token; undefined for the first page. Throws Invalid for a token that is not of this query. */
export function readPageToken(token: string, query: readonly string[]): string | undefined {
  if (token === '') return undefined;
  const text = /^[A-Za-z0-9_-]{1,4096}$/.test(token) ? Buffer.from(token, 'base64url').toString() : '';
  const dot = text.indexOf('.');
  if (dot !== 12 || text.slice(0, dot) !== markOf(query) || text.length === dot + 1) {
    const description = 'is malformed or belongs to another query: start again without one';
    throw new Invalid('PAGE_TOKEN_INVALID', `page_token ${description}`, {
      fields: [{ field: 'page_token', description }],
    });
  }
  return text.slice(dot + 1);
}
