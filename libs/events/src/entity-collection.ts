/**
 * The writes of an entity collection: each compares the public message before and after and carries the event.
 * See entity.ts for what holds.
 */

import { type Clock, Conflict, currentTraceparent, Internal, NotFound } from '@nephos/service';
import type { Collection, Json, Store, Stored } from '@nephos/store';
import { changedPaths, type JsonObject } from './changes.ts';
import type { EventPayload } from './cloudevent.ts';
import { EncodedPayload } from './encoded-payload.ts';
import {
  addressOf,
  type EntityCollection,
  type EntityDefinition,
  type InsertOptions,
  type ModifyOptions,
  type WriteOptions,
} from './entity.ts';
import { type Redactor, redactorOf } from './sensitive.ts';
import { subjectOf } from './subject.ts';

export interface EntityOptions {
  /** The service that owns it: the event's `source` is `/nephos/<source>`. */
  readonly source: string;
  readonly clock: Clock;
  /** A binary FileDescriptorSet that knows the message; default: the contracts of @nephos/proto. */
  readonly descriptors?: Uint8Array;
}

/** Paths that change with each write and so make none of them public by themselves. */
const bookkeeping = new Set(['header.etag', 'header.updateTime']);

/** How often `remove` reads again after another write came between. */
const removeAttempts = 16;

const opened = new WeakMap<Store, Map<string, OpenedEntity>>();

/** What the relay needs of an entity to state it anew: see restate.ts. */
export interface OpenedEntity {
  readonly documents: Collection<unknown>;
  /** A payload that stands for the entity's whole past. */
  restate(stored: Stored<unknown>): EventPayload;
}

/** The entities opened on a store, by collection name. */
export function entitiesOf(store: Store): ReadonlyMap<string, OpenedEntity> {
  return opened.get(store) ?? new Map<string, OpenedEntity>();
}

/** Opens an entity's collection. Throws `Internal` when the descriptors do not know its message. */
export async function openEntity<T, M>(
  store: Store,
  definition: EntityDefinition<T, M>,
  options: EntityOptions,
): Promise<EntityCollection<T, M>> {
  const redact = redactorOf(definition.message.$type, options.descriptors);
  const entity = new Entity(await store.collection(definition.store), definition, options.source, redact);
  const all = opened.get(store) ?? new Map<string, OpenedEntity>();
  opened.set(store, all.set(definition.store.name, entity as unknown as OpenedEntity));
  return entity;
}

class Entity<T, M> implements EntityCollection<T, M> {
  readonly documents: Collection<T>;
  readonly definition: EntityDefinition<T, M>;
  readonly get: Collection<T>['get'];
  readonly getMany: Collection<T>['getMany'];
  readonly find: Collection<T>['find'];
  readonly count: Collection<T>['count'];
  readonly #source: string;
  readonly #redact: Redactor;

  constructor(
    documents: Collection<T>,
    definition: EntityDefinition<T, M>,
    source: string,
    redact: Redactor,
  ) {
    this.documents = documents;
    this.definition = definition;
    this.get = (id) => documents.get(id);
    this.getMany = (ids) => documents.getMany(ids);
    this.find = (query) => documents.find(query);
    this.count = (where) => documents.count(where);
    this.#source = source;
    this.#redact = redact;
  }

  message(stored: Stored<T>): M {
    return this.definition.toMessage(stored);
  }

  async insert(id: string, value: T, options: InsertOptions = {}): Promise<Stored<T>> {
    const predicted = { id, revision: 1, eventSeq: 1, value };
    const event = this.#event(undefined, predicted, options);
    const stored = await this.documents.insert(id, value, event, { fresh: options.fresh ?? false });
    // An id that was removed before goes on counting: say the counters that it really got.
    const exact = stored.revision === 1 || options.quiet === true;
    return exact ? stored : await this.#correct(stored);
  }

  modify(
    id: string,
    change: (value: T, stored: Stored<T>) => T | undefined,
    options: ModifyOptions = {},
  ): Promise<Stored<T>> {
    return this.documents.modify(id, (current) => {
      checkRevision(current, options.expected);
      const value = change(current.value, current);
      if (value === undefined) return undefined;
      const next = { id, revision: current.revision + 1, eventSeq: current.eventSeq + 1, value };
      const event = this.#event(current, next, options);
      return event === undefined ? { value } : { value, event };
    });
  }

  async remove(id: string, options: ModifyOptions = {}): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const current = await this.documents.get(id);
      if (!current)
        throw new NotFound('RESOURCE_NOT_FOUND', `${this.definition.collection}/${id} is not there`);
      checkRevision(current, options.expected);
      try {
        return await this.documents.remove(id, current.revision, this.#event(current, undefined, options));
      } catch (error) {
        const tryAgain =
          error instanceof Conflict && options.expected === undefined && attempt < removeAttempts;
        if (!tryAgain) throw error;
      }
    }
  }

  eventOf(
    before: Stored<T> | undefined,
    after: Stored<T> | undefined,
    options: WriteOptions = {},
  ): Json | undefined {
    return this.#event(before, after, options);
  }

  restate(stored: Stored<T>): EventPayload {
    const now = this.#json(stored);
    return this.#payload(stored, 'restated', { new: now, changedPaths: [] });
  }

  async #correct(stored: Stored<T>): Promise<Stored<T>> {
    const next = { ...stored, revision: stored.revision + 1, eventSeq: stored.eventSeq + 1 };
    const paths = changedPaths(this.#json(stored), this.#json(next));
    const payload = this.#payload(next, 'updated', { new: this.#json(next), changedPaths: paths });
    const event = EncodedPayload.of(payload) as unknown as Json;
    return await this.documents.update(stored.id, stored.revision, stored.value, event);
  }

  /** The event of a write, or undefined when it changes nothing public. */
  #event(
    before: Stored<T> | undefined,
    after: Stored<T> | undefined,
    options: WriteOptions,
  ): Json | undefined {
    if (options.quiet === true) return undefined;
    const old = before && this.#json(before);
    const now = after && this.#json(after);
    const paths = changedPaths(old, now);
    if (old && now && paths.every((path) => bookkeeping.has(path))) return undefined;
    const verb = options.verb ?? (old ? (now ? 'updated' : 'deleted') : 'created');
    const subject = after ?? before;
    if (!subject) throw new Internal('INTERNAL', 'an event needs a state before or after it');
    if (before && after) this.#checkPlace(before, after);
    const change = { ...(now && { new: now }), ...(old && { old }), changedPaths: paths };
    return EncodedPayload.of(this.#payload(subject, verb, change)) as unknown as Json;
  }

  #payload(stored: Stored<T>, verb: string, change: EventPayload['change']): EventPayload {
    const traceparent = currentTraceparent();
    return {
      tree: this.definition.tree ?? 'entities',
      address: addressOf(this.definition, stored.id, stored.value),
      verb,
      source: `/nephos/${this.#source}`,
      name: `${this.definition.collection}/${stored.id}`,
      schema: this.definition.message.$type,
      ...(traceparent !== undefined && { traceparent }),
      change,
    };
  }

  #json(stored: Stored<T>): JsonObject {
    return this.#redact(this.definition.message.toJSON(this.definition.toMessage(stored)) as JsonObject);
  }

  #checkPlace(before: Stored<T>, after: Stored<T>): void {
    const from = this.definition.place(before.value);
    const to = this.definition.place(after.value);
    if (from.owner === to.owner && from.zone === to.zone) return;
    const subjects = [before, after].map(({ id, value }) =>
      subjectOf(this.definition.tree ?? 'entities', addressOf(this.definition, id, value)),
    );
    if (subjects[0] !== subjects[1])
      throw new Internal('INTERNAL', `owner and zone are immutable: ${subjects.join(' cannot become ')}`);
  }
}

function checkRevision(current: Stored<unknown>, expected: number | undefined): void {
  if (expected === undefined || current.revision === expected) return;
  throw new Conflict('REVISION_MISMATCH', `revision is ${current.revision}, not ${expected}`);
}
