/** Pages of lists that a plugin holds in memory, by a key that does not change. */
import { pageSizeOf, pageTokenOf, readPageToken } from '@nephos/service';

export function pageOf<T>(
  all: readonly T[],
  keyOf: (item: T) => string,
  request: { readonly pageSize: number; readonly pageToken: string; readonly host: string },
): { readonly items: T[]; readonly nextPageToken: string } {
  const size = pageSizeOf(request.pageSize, { standard: 500, most: 500 });
  const after = readPageToken(request.pageToken, [request.host]);
  const sorted = all
    .filter((item) => after === undefined || keyOf(item) > after)
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const items = sorted.slice(0, size);
  const last = sorted.length > size ? items.at(-1) : undefined;
  return { items, nextPageToken: pageTokenOf(last && keyOf(last), [request.host]) };
}
