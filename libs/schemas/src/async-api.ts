/**
 * The event streams as an AsyncAPI 3.0 document: a channel an entity, a message a verb, the schemas of them all.
 * Pure, and the same for the same contracts: it is made anew by whoever asks.
 */
import { subjectRoots } from '@nephos/events';
import type { Contracts, ResourceType } from './contracts.ts';
import { envelopeSchema, eventTypeOf } from './event-schema.ts';
import { type JsonSchema, messageSchemas } from './message-schema.ts';

const schemaRefs = '#/components/schemas/';

export interface AsyncApiOptions {
  /** The platform's version. */
  readonly version: string;
  /** Where schemas are served; see DocumentOptions. */
  readonly base: string;
}

export type AsyncApiDocument = { readonly [key: string]: unknown };

export function asyncApiDocument(contracts: Contracts, options: AsyncApiOptions): AsyncApiDocument {
  const resources = contracts.resources();
  const messages = resources.flatMap((resource) =>
    resource.verbs.map((verb) => messageOf(resource, verb, options)),
  );
  const states = resources.map(({ message }) => messageSchemas(contracts, message, { refs: schemaRefs }));
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Nephos events',
      version: options.version,
      description:
        'Every change of every entity, as CloudEvents 1.0 in structured JSON on NATS JetStream. At least once, in order per entity. The same events come over gRPC by `nephos.events.v1.EventService/Watch` and over HTTP by webhooks.',
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    defaultContentType: 'application/cloudevents+json',
    channels: Object.fromEntries(
      resources.map((resource) => [resource.entity, channelOf(contracts, resource)]),
    ),
    operations: Object.fromEntries(
      resources.map(({ entity }) => [
        `${entity}.changed`,
        {
          action: 'send',
          channel: { $ref: `#/channels/${entity}` },
          summary: `The platform tells each change of each ${entity}.`,
        },
      ]),
    ),
    components: {
      messages: Object.fromEntries(messages),
      schemas: Object.assign({}, ...states) as Record<string, JsonSchema>,
    },
  };
}

/** Where events of the entity are published. */
export function channelAddress(entity: string): string {
  const root = entity === 'job' ? subjectRoots.jobs : subjectRoots.entities;
  return `${root}.{owner}.{zone}.${entity}.{id}`;
}

function channelOf(contracts: Contracts, resource: ResourceType) {
  const { entity, message, verbs } = resource;
  return {
    address: channelAddress(entity),
    title: `Changes of ${entity}`,
    description: contracts.comment(contracts.message(message)),
    parameters: {
      owner: {
        description: 'The owner as a token: letters, digits, `_`, `-`; other bytes `%XX`; `_` for none.',
      },
      zone: { description: 'The uid of the zone; `_` for none.' },
      id: { description: 'The uid of the entity.' },
    },
    messages: Object.fromEntries(
      verbs.map((verb) => {
        const type = eventTypeOf(resource, verb);
        return [type, { $ref: `#/components/messages/${type}` }];
      }),
    ),
    bindings: { nats: {} },
  };
}

function messageOf(resource: ResourceType, verb: string, { base }: AsyncApiOptions) {
  const type = eventTypeOf(resource, verb);
  const payload = envelopeSchema(resource, verb, schemaRefs, { base });
  const contentType = 'application/cloudevents+json';
  return [type, { name: type, title: `${resource.entity} ${verb}`, contentType, payload }] as const;
}
