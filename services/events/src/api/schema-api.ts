/** SchemaService: the documents of the catalog. */
import type { SchemaServiceDefinition } from '@nephos/proto/nephos/events/v1/schema';
import {
  fieldInvalid,
  type Implementation,
  NotFound,
  pageSizeOf,
  pageTokenOf,
  readPageToken,
} from '@nephos/service';
import type { Catalog } from '../catalog.ts';

const prefix = 'schemas/';

export function schemaApi(catalog: Catalog): Implementation<typeof SchemaServiceDefinition> {
  return {
    listSchemas: async ({ pageSize, pageToken }) => {
      const size = pageSizeOf(pageSize);
      const after = readPageToken(pageToken, []) ?? '';
      const ids = [...catalog.schemas.keys()].filter((id) => id > after);
      const page = ids.slice(0, size);
      return {
        schemas: page.map((id) => ({ name: prefix + id })),
        nextPageToken: pageTokenOf(ids.length > size ? page.at(-1) : undefined, []),
      };
    },
    getSchema: async ({ name }) => {
      if (!name.startsWith(prefix)) throw fieldInvalid('name', `must be ${prefix}{id}`, name === '');
      const content = catalog.schemas.get(name.slice(prefix.length));
      if (content === undefined)
        throw new NotFound('RESOURCE_NOT_FOUND', 'there is no such schema: list them');
      return { name, content };
    },
    getAsyncApi: async () => ({ content: catalog.asyncApi }),
  };
}
