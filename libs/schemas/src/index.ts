/** The surface of @nephos/schemas. */
export { type AsyncApiDocument, type AsyncApiOptions, asyncApiDocument } from './async-api.ts';
export { Contracts, ownContracts, type ResourceType } from './contracts.ts';
export { checkEntityWord } from './entity-words.ts';
export { type DocumentOptions, eventTypeOf, schemaDocuments } from './event-schema.ts';
export { withEventTable } from './event-table.ts';
export type { JsonSchema } from './message-schema.ts';
