/** The documents that describe events, made from the contracts when first asked for and kept from then on. */
import { type AsyncApiOptions, asyncApiDocument, ownContracts, schemaDocuments } from '@nephos/schemas';

export class Catalog {
  readonly #options: AsyncApiOptions;
  #schemas: ReadonlyMap<string, string> | undefined;
  #asyncApi: string | undefined;

  constructor(options: AsyncApiOptions) {
    this.#options = options;
  }

  /** JSON by id, ordered by id. */
  get schemas(): ReadonlyMap<string, string> {
    this.#schemas ??= new Map(
      [...schemaDocuments(ownContracts(), this.#options)]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([id, schema]) => [id, JSON.stringify(schema)]),
    );
    return this.#schemas;
  }

  /** JSON. */
  get asyncApi(): string {
    return (this.#asyncApi ??= JSON.stringify(asyncApiDocument(ownContracts(), this.#options)));
  }
}
