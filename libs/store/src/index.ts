// The surface of @nephos/store.
export type {
  Change,
  Cleared,
  Collection,
  CollectionDefinition,
  CommittedEvent,
  Condition,
  Expected,
  IndexDefinition,
  InsertOptions,
  Json,
  Outbox,
  Page,
  PendingDocument,
  PendingEvent,
  PendingOptions,
  Query,
  Scalar,
  Store,
  Stored,
  StoreLog,
  StoreOptions,
  Where,
  Write,
  WriteResult,
} from './collection.ts';
export { defineCollection } from './definition.ts';
export { JsonText } from './json-text.ts';
export {
  enumField,
  type ListField,
  type ListFields,
  type ListOptions,
  type ListRequest,
  listPage,
} from './listing.ts';
export { openStore } from './open.ts';
export { openServiceStore, serviceStoreUrl, shownStoreUrl, worldStoreUrl } from './service-store.ts';
