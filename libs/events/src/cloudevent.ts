/**
 * Entity changes as CloudEvents 1.0 in structured JSON (proto/nephos/events/v1/event.proto). Pure.
 * A payload is what a write leaves in its document; the counter that the store gave it completes the event when
 * the relay publishes it. The id is made of entity, uid and sequence alone: each delivery of an event has the
 * same one, whoever publishes it.
 */
import { Invalid } from '@nephos/service';
import type { Json, PendingEvent } from '@nephos/store';
import type { JsonObject } from './changes.ts';
import { EncodedPayload } from './encoded-payload.ts';
import { type EntityAddress, type EventTree, parseSubject } from './subject.ts';

/** What a write leaves in its document for the relay. */
export interface EventPayload {
  readonly tree: EventTree;
  readonly address: EntityAddress;
  readonly verb: string;
  /** `/nephos/<service>`. */
  readonly source: string;
  /** Resource name. */
  readonly name: string;
  /** Full name of the resource's proto message. */
  readonly schema: string;
  readonly traceparent?: string;
  readonly change: { readonly new?: JsonObject; readonly old?: JsonObject; readonly changedPaths: string[] };
}

/** An event as a subscriber's handler gets it. `M` is the resource's message, or its proto JSON. */
export interface EntityEvent<M = JsonObject> {
  /** `<entity>/<uid>/<sequence>`. */
  readonly id: string;
  readonly entity: string;
  readonly verb: string;
  /** `/nephos/<service>`. */
  readonly source: string;
  /** Resource name, `vms/{uid}`. */
  readonly subject: string;
  readonly uid: string;
  readonly owner: string;
  /** `zones/{uid}` or empty. */
  readonly zone: string;
  /** Dense per entity. */
  readonly sequence: number;
  /** The first of the sequences that this event stands for: `sequence` unless events were collapsed or resynced. */
  readonly firstSequence: number;
  /** True where events were lost for good and this one carries the state that followed them. */
  readonly resync: boolean;
  /** Wall time of the writer. */
  readonly time: Date;
  readonly new?: M;
  readonly old?: M;
  readonly changedPaths: readonly string[];
  /** What there is but was too large for the broker; get the resource by its name. Absent: nothing. */
  readonly omitted?: readonly Omission[];
  readonly traceparent?: string;
}

/** A part of an event's data that was left out. */
export type Omission = 'new' | 'old' | 'changedPaths';

/** Header of messages about removed entities, so that the state stream can be swept without reading bodies. */
export const removedHeader = 'Nephos-Removed';

export function eventId(address: EntityAddress, sequence: number): string {
  return `${address.entity}/${address.uid}/${sequence}`;
}

/** The id of the JSON Schema of the data of events about a resource, by its message's full name. */
export function dataSchemaId(message: string): string {
  return `${message}.change`;
}

/** Where a JSON Schema is found: below the base that the platform is configured with, or a name that resolves to nothing. */
export function schemaUri(base: string, id: string): string {
  return base === '' ? `urn:nephos:schema:${id}` : `${base.replace(/\/+$/, '')}/schemas/${id}.json`;
}

export interface EncodeOptions {
  readonly omitted?: readonly Omission[];
  /** Where JSON Schemas are served, `http://host:port`; empty: they have a name only. */
  readonly schemaBase?: string;
}

export function encodeEvent(
  payload: EventPayload,
  pending: Omit<PendingEvent, 'payload'>,
  { omitted = [], schemaBase = '' }: EncodeOptions = {},
): string {
  const { address, traceparent } = payload;
  const attributes = JSON.stringify({
    specversion: '1.0',
    id: eventId(address, pending.seq),
    type: `dev.nephos.${address.entity}.v1.${payload.verb}`,
    source: payload.source,
    subject: payload.name,
    time: pending.at,
    datacontenttype: 'application/json',
    dataschema: schemaUri(schemaBase, dataSchemaId(payload.schema)),
    sequence: String(pending.seq),
    traceparent,
    // An extension attribute, as the CloudEvents specification allows.
    omitted: omitted.length > 0 ? omitted.join(',') : undefined,
  });
  return `${attributes.slice(0, -1)},"data":${dataText(payload, pending)}}`;
}

/** The data's JSON: that of the change, and which sequences it stands for if it stands for many. */
function dataText(payload: EventPayload, { firstSeq, seq }: Omit<PendingEvent, 'payload'>): string {
  const change = payload instanceof EncodedPayload ? payload.changeText : JSON.stringify(payload.change);
  return firstSeq < seq ? `${change.slice(0, -1)},"collapsedFromSequence":"${firstSeq}"}` : change;
}

/** Whether nothing is there after the change. */
export function isRemoval(payload: EventPayload): boolean {
  return payload instanceof EncodedPayload ? payload.removed : payload.change.new === undefined;
}

interface CloudEvent {
  readonly id: string;
  readonly type: string;
  readonly source: string;
  readonly subject: string;
  readonly time: string;
  readonly sequence: string;
  readonly traceparent?: string;
  readonly omitted?: string;
  readonly data: {
    readonly new?: JsonObject;
    readonly old?: JsonObject;
    readonly changedPaths?: readonly string[];
    readonly collapsedFromSequence?: string;
  };
}

/** Reads an event from the bus. Throws `Invalid` on what is none. */
export function decodeEvent(natsSubject: string, body: string): EntityEvent {
  const event = parse(body);
  const address = parseSubject(natsSubject);
  const sequence = Number(event.sequence);
  const [, , entity, , verb] = event.type.split('.');
  if (!Number.isSafeInteger(sequence) || sequence < 1 || entity !== address.entity || !verb) {
    throw new Invalid('FIELD_INVALID', `the message on ${natsSubject} is not an entity event`);
  }
  const { data } = event;
  const { uid, owner, zone } = address;
  const decoded: Writable<EntityEvent> = {
    id: event.id,
    entity,
    uid,
    owner,
    zone,
    verb,
    source: event.source,
    subject: event.subject,
    sequence,
    firstSequence: data.collapsedFromSequence === undefined ? sequence : Number(data.collapsedFromSequence),
    resync: false,
    time: new Date(event.time),
    changedPaths: data.changedPaths ?? [],
  };
  if (data.new) decoded.new = data.new;
  if (data.old) decoded.old = data.old;
  if (event.omitted !== undefined) decoded.omitted = event.omitted.split(',') as Omission[];
  if (event.traceparent !== undefined) decoded.traceparent = event.traceparent;
  return decoded;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function parse(body: string): CloudEvent {
  let event: Partial<CloudEvent> | null;
  try {
    event = JSON.parse(body) as Partial<CloudEvent> | null;
  } catch (cause) {
    throw new Invalid('FIELD_INVALID', 'an event is not JSON', { cause });
  }
  const texts = [event?.id, event?.type, event?.source, event?.subject, event?.time, event?.sequence];
  if (!event?.data || texts.some((text) => typeof text !== 'string')) {
    throw new Invalid('FIELD_INVALID', 'an event lacks an attribute that every CloudEvent of Nephos has');
  }
  return event as CloudEvent;
}

/** The payload of a pending event; entity collections are the only ones that write them. */
export function payloadOf(payload: Json): EventPayload {
  return payload as unknown as EventPayload;
}
