/**
 * The schemas of events: of the data, of the whole CloudEvent of one type, and of the resource by itself. Pure.
 * Every document stands alone: what it refers to is in its own `$defs`. Its `$id` is what `dataschema` of events
 * says, so that a validator which was given the documents resolves it without the network.
 */
import { dataSchemaId, schemaUri } from '@nephos/events';
import type { Contracts, ResourceType } from './contracts.ts';
import { type JsonSchema, type MessageSchemaOptions, messageSchemas } from './message-schema.ts';

const dialect = 'https://json-schema.org/draft/2020-12/schema';

export interface DocumentOptions {
  /** `http://host:port` that documents are served under; empty: `urn:nephos:schema:{id}`. */
  readonly base: string;
  /** See MessageSchemaOptions. */
  readonly closed?: boolean;
}

/** Every document by its id, e.g. `nephos.orchestration.v1.Vm`, that with `.change`, `dev.nephos.vm.v1.created`. */
export function schemaDocuments(contracts: Contracts, options: DocumentOptions): Map<string, JsonSchema> {
  const documents = new Map<string, JsonSchema>();
  for (const resource of contracts.resources()) {
    const put = (id: string, schema: JsonSchema): void => {
      const defs = messageSchemas(contracts, resource.message, { ...options, refs: '#/$defs/' });
      documents.set(id, { $schema: dialect, $id: schemaUri(options.base, id), ...schema, $defs: defs });
    };
    const state = { $ref: `#/$defs/${resource.message}` };
    put(resource.message, { title: resource.entity, ...state });
    put(dataSchemaId(resource.message), changeSchema(resource, { ...options, refs: '#/$defs/' }));
    for (const verb of resource.verbs)
      put(eventTypeOf(resource, verb), envelopeSchema(resource, verb, '#/$defs/', options));
  }
  return documents;
}

/** `dev.nephos.vm.v1.created`. */
export function eventTypeOf({ entity }: Pick<ResourceType, 'entity'>, verb: string): string {
  return `dev.nephos.${entity}.v1.${verb}`;
}

/** The data of an event of the resource: nephos.events.v1.EntityChange. */
export function changeSchema(
  { message, entity }: ResourceType,
  { refs, closed }: MessageSchemaOptions,
): JsonSchema {
  const state = { $ref: `${refs}${message}` };
  return {
    title: `${entity} change`,
    type: 'object',
    properties: {
      new: { description: 'After the change; absent when it was removed, or omitted.', allOf: [state] },
      old: { description: 'Before the change; absent when it was created, or omitted.', allOf: [state] },
      changedPaths: {
        description: 'Paths of the fields that differ, in JSON names with dots, e.g. `status.state`.',
        type: 'array',
        items: { type: 'string' },
      },
      collapsedFromSequence: {
        description:
          'Set when events were collapsed: this one stands for all from this sequence up to its own.',
        type: 'string',
        pattern: '^[1-9][0-9]*$',
      },
    },
    required: ['changedPaths'],
    ...(closed === true && { additionalProperties: false }),
  };
}

/** A whole event of one type, CloudEvents 1.0 in structured JSON. */
export function envelopeSchema(
  resource: ResourceType,
  verb: string,
  refs: string,
  { base, closed }: DocumentOptions,
): JsonSchema {
  const { entity, collection, message } = resource;
  const uid = '[^/]+';
  return {
    title: eventTypeOf(resource, verb),
    type: 'object',
    properties: {
      specversion: { const: '1.0' },
      id: {
        description: 'Equal each time the event is delivered.',
        type: 'string',
        pattern: `^${entity}/${uid}/[1-9][0-9]*$`,
      },
      type: { const: eventTypeOf(resource, verb) },
      source: { description: 'The service.', type: 'string', pattern: '^/nephos/.' },
      subject: { description: 'The resource name.', type: 'string', pattern: `^${collection}/${uid}$` },
      time: {
        description: "When it was written, by the writer's clock.",
        type: 'string',
        format: 'date-time',
      },
      datacontenttype: { const: 'application/json' },
      dataschema: { description: 'The schema of the data.', const: schemaUri(base, dataSchemaId(message)) },
      sequence: { description: 'Dense per entity.', type: 'string', pattern: '^[1-9][0-9]*$' },
      traceparent: { description: 'W3C trace context of the change.', type: 'string' },
      omitted: {
        description: 'What was too large for the broker and is left out of the data.',
        type: 'string',
        pattern: '^(old|new|changedPaths)(,(old|new|changedPaths))*$',
      },
      data: changeSchema(resource, { refs, ...(closed !== undefined && { closed }) }),
    },
    required: [
      'specversion',
      'id',
      'type',
      'source',
      'subject',
      'time',
      'datacontenttype',
      'dataschema',
      'sequence',
      'data',
    ],
    ...(closed === true && { additionalProperties: false }),
  };
}
