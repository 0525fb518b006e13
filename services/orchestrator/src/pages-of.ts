/** Reading all of a collection, page by page. */
import type { Page, Query, Stored } from '@nephos/store';

interface Source<T> {
  find(query: Query): Promise<Page<T>>;
}

const standardPage = 200;

/** Every page of a query; each is read when the one before was dealt with. */
export async function* pagesOf<T>(
  source: Source<T>,
  query: Partial<Omit<Query, 'cursor'>> = {},
): AsyncGenerator<Stored<T>[]> {
  let cursor: string | undefined;
  do {
    const page = await source.find({
      limit: standardPage,
      ...query,
      ...(cursor !== undefined && { cursor }),
    });
    yield page.items;
    cursor = page.nextCursor;
  } while (cursor !== undefined);
}
