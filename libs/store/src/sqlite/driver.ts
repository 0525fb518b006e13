// The SQLite driver: turns the store's operations into messages for the worker thread, and refusals into errors.
// Owner: the SQLite adapter. Holds nothing but the shape of the open collections.
import { Exhausted, Internal, Invalid, Precondition } from '@nephos/service';
import type {
  Cleared,
  Expected,
  IndexDefinition,
  Json,
  PendingDocument,
  PendingEvent,
} from '../collection.ts';
import type { Driver, EventToAdd, Row, WriteRequest, Written } from '../driver.ts';
import { alreadyExists, conflict, notFound, wasRemoved } from '../failures.ts';
import type { Plan } from '../plan.ts';
import { schemaTooFar } from '../schema.ts';
import { scalarAt } from '../values.ts';
import type { WorkerChannel } from './channel.ts';
import type {
  EventRow,
  EventText,
  Guard,
  Operation,
  PendingRow,
  Refusal,
  RowText,
  WriteOperation,
} from './protocol.ts';
import { bindable } from './select.ts';
import { indexedFields } from './tables.ts';
import type { WrittenRow } from './writes.ts';

/** Text of one document, and of one event. */
const maxTextLength = 8 * 1024 * 1024;
/** Documents cleared by one operation: others wait for it. */
const clearedAtOnce = 500;
/** What an operation without text weighs in the queue. */
const bareBytes = 200;

export class SqliteDriver implements Driver {
  readonly #channel: WorkerChannel;
  readonly #indexes = new Map<string, Readonly<Record<string, IndexDefinition>>>();
  readonly #fields = new Map<string, readonly string[]>();

  constructor(channel: WorkerChannel) {
    this.#channel = channel;
  }

  async open(collection: string, indexes: Readonly<Record<string, IndexDefinition>>): Promise<void> {
    this.#indexes.set(collection, indexes);
    this.#fields.set(collection, indexedFields(indexes));
    await this.#ask({ op: 'open', collection, indexes });
  }

  async get(collection: string, ids: readonly string[]): Promise<Row[]> {
    return ((await this.#ask({ op: 'get', collection, ids })) as RowText[]).map(rowOf);
  }

  async find(collection: string, plan: Plan): Promise<Row[]> {
    return ((await this.#ask({ op: 'find', collection, plan })) as RowText[]).map(rowOf);
  }

  async count(collection: string, plan: Plan): Promise<number> {
    return (await this.#ask({ op: 'count', collection, plan })) as number;
  }

  write(collection: string, request: WriteRequest): Promise<Written> {
    try {
      return this.#ask(this.#operationOf(collection, request), writtenOf);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  /** The channel keeps their order and sends them together. */
  writeAll(collection: string, requests: readonly WriteRequest[]): Promise<PromiseSettledResult<Written>[]> {
    return Promise.allSettled(requests.map((request) => this.write(collection, request)));
  }

  async pendingOf(collection: string, id: string): Promise<PendingEvent[]> {
    return ((await this.#ask({ op: 'pendingOf', collection, id })) as EventRow[]).map(eventOf);
  }

  async collapse(
    collection: string,
    id: string,
    {
      first,
      last,
      count,
    }: { readonly first: PendingEvent; readonly last: PendingEvent; readonly count: number },
    payload: Json,
  ): Promise<void> {
    await this.#ask({
      op: 'collapse',
      collection,
      id,
      firstSeq: first.firstSeq,
      fromSeq: first.seq,
      toSeq: last.seq,
      count,
      event: eventText({ at: last.at, payload }),
    });
  }

  async pending(
    limit: number,
    after: string | undefined,
    read: (text: string) => Json,
  ): Promise<PendingDocument[]> {
    const rows = (await this.#ask({ op: 'pending', limit, after: positionOf(after) })) as PendingRow[];
    return rows.map((row) => ({
      ...row,
      key: `${row.collection}/${row.id}`,
      events: row.events.map(([seq, firstSeq, at, payload]) => ({
        seq,
        firstSeq,
        at,
        payload: read(payload),
      })),
    }));
  }

  async clear(collection: string, id: string, upToSeq: number): Promise<void> {
    await this.#ask({ op: 'clear', collection, id, upToSeq });
  }

  async clearAll(cleared: readonly Cleared[]): Promise<void> {
    const events = cleared.map(({ collection, id, upToSeq }) => [collection, id, upToSeq] as const);
    for (let from = 0; from < events.length; from += clearedAtOnce) {
      await this.#ask({ op: 'clearAll', events: events.slice(from, from + clearedAtOnce) });
    }
  }

  async sweepTombstones(removedBefore: number, limit: number): Promise<number> {
    return (await this.#ask({ op: 'sweep', removedBefore, limit })) as number;
  }

  async ping(): Promise<void> {
    await this.#ask({ op: 'ping' });
  }

  close(): Promise<void> {
    return this.#channel.close();
  }

  #ask(operation: Operation): Promise<unknown>;
  #ask<R>(operation: Operation, read: (result: unknown) => R): Promise<R>;
  #ask(operation: Operation, read: (result: unknown) => unknown = (result) => result): Promise<unknown> {
    return this.#channel.request(operation, weightOf(operation), (reply) => {
      if ('refused' in reply) throw this.#errorOf(operation, reply.refused);
      return read(reply.result);
    });
  }

  #operationOf(collection: string, request: WriteRequest): WriteOperation {
    const { id, schema } = request;
    const event = request.event === undefined ? undefined : eventText(request.event);
    if (event !== undefined && event.payload.length > maxTextLength) throw tooLarge(collection, id);
    if (request.kind === 'remove') {
      const { removedAt } = request;
      return { op: 'remove', collection, id, guard: guardOf(request.expected), removedAt, schema, event };
    }
    const value = JSON.stringify(request.value);
    if (value.length > maxTextLength) throw tooLarge(collection, id);
    const indexed = (this.#fields.get(collection) ?? []).map((field) => indexedValue(request.value, field));
    if (request.kind === 'insert') {
      return { op: 'insert', collection, id, value, indexed, schema, event, fresh: request.fresh };
    }
    return { op: 'update', collection, id, guard: guardOf(request.expected), value, indexed, schema, event };
  }

  #errorOf(operation: Operation, refusal: Refusal): Error {
    const collection = 'collection' in operation ? operation.collection : '';
    const id = 'id' in operation ? operation.id : '';
    switch (refusal.kind) {
      case 'not-found':
        return notFound(collection, id);
      case 'exists':
        return alreadyExists(collection, id, this.#indexName(collection, refusal.index));
      case 'removed':
        return wasRemoved(collection, id);
      case 'conflict':
        return conflict(collection, id);
      case 'schema':
        return schemaTooFar(collection, id, refusal.stored, refusal.own);
      case 'too-large':
        return tooLarge(collection, id);
      case 'duplicates':
        return new Precondition(
          'STATE_FORBIDS',
          `collection ${collection}: documents share a value of the new unique index ${refusal.index}`,
        );
      case 'storage-full':
        return new Exhausted('LIMIT_REACHED', 'the disk is full: nothing was written');
      case 'internal':
        return new Internal('INTERNAL', `the store refused an operation: ${refusal.message}`);
    }
  }

  /** The worker names a unique index by its fields. */
  #indexName(collection: string, fields: string): string {
    const indexes = Object.entries(this.#indexes.get(collection) ?? {});
    return indexes.find(([, index]) => index.fields.join() === fields)?.[0] ?? fields;
  }
}

function writtenOf(result: unknown): Written {
  const [revision, eventSeq, pendingCount, pendingBytes] = result as WrittenRow;
  return { revision, eventSeq, pendingCount, pendingBytes };
}

function indexedValue(value: Json, field: string): string | number | null {
  const scalar = scalarAt(value, field);
  return scalar === undefined ? null : bindable(scalar);
}

function guardOf(expected: Expected | undefined): Guard {
  return typeof expected === 'object' ? Object.entries(expected.where) : expected;
}

function eventText(event: EventToAdd): EventText {
  return { at: event.at, payload: event.encoded?.text ?? JSON.stringify(event.payload) };
}

function weightOf(operation: Operation): number {
  const value = 'value' in operation ? operation.value.length : 0;
  const event = 'event' in operation ? (operation.event?.payload.length ?? 0) : 0;
  return bareBytes + value + event;
}

function positionOf(key: string | undefined): readonly [string, string] {
  const slash = key?.indexOf('/') ?? -1;
  return key === undefined || slash < 0 ? ['', ''] : [key.slice(0, slash), key.slice(slash + 1)];
}

function rowOf([id, revision, eventSeq, schema, value]: RowText): Row {
  return { id, revision, eventSeq, schema, value: JSON.parse(value) as Json };
}

function eventOf([seq, firstSeq, at, payload]: EventRow): PendingEvent {
  return { seq, firstSeq, at, payload: JSON.parse(payload) as Json };
}

function tooLarge(collection: string, id: string): Invalid {
  return new Invalid(
    'MESSAGE_TOO_LARGE',
    `${collection}/${id}: a document or event is at most ${maxTextLength} long`,
  );
}
