/**
 * Entities: a collection whose writes carry their own events.
 * Owner: the service that owns the collection; it is the only writer. Invariants: a write that changes the
 * public message carries exactly one event, one that does not carries none; the event holds the message with
 * the revision and the counter that the write results in (compare-and-set makes the prediction exact); no
 * sensitive field gets in. A crash leaves the write with its event, or neither (libs/store).
 */
import { Invalid } from '@nephos/service';
import type {
  Collection,
  CollectionDefinition,
  Json,
  Page,
  PendingEvent,
  Query,
  Stored,
  Where,
} from '@nephos/store';
import { changedPaths } from './changes.ts';
import { type EventPayload, payloadOf } from './cloudevent.ts';
import type { EntityAddress, EventTree } from './subject.ts';

/** What is needed of a generated message. */
export interface MessageCodec<M> {
  readonly $type: string;
  toJSON(message: M): unknown;
}

/** Where an entity belongs. Immutable once it exists: its events keep their subject. */
export interface Place {
  readonly owner: string;
  /** `zones/{uid}`, the uid alone, or empty. */
  readonly zone: string;
}

export interface EntityDefinition<T, M> {
  /** The entity's word in event types and subjects, e.g. `vm`. */
  readonly entity: string;
  /** The collection's word in resource names, e.g. `vms`. */
  readonly collection: string;
  readonly message: MessageCodec<M>;
  /** The stored form. Opened by `openEntity` with a `collapse` of events added. */
  readonly store: CollectionDefinition<T>;
  /**
   * The public message of a stored value. Pure, and called for the state before and after each write: its
   * `etag` and the like may use `stored.eventSeq`, which rises exactly with public changes, or `stored.revision`.
   */
  toMessage(stored: Stored<T>): M;
  place(value: T): Place;
  /** Default: `entities`. `jobs` have a stream of their own with short retention. */
  readonly tree?: EventTree;
}

/** How a write is told to the world. */
export interface WriteOptions {
  /** The verb in the event's type; default `created`, `updated`, `deleted`. */
  readonly verb?: string;
  /** True: no event even though the message changes. For changes too many to tell, such as a job's progress. */
  readonly quiet?: boolean;
}

export interface InsertOptions extends WriteOptions {
  /** Refuse an id that was removed, as `AlreadyExists` with index `id`; see libs/store. */
  readonly fresh?: boolean;
}

export interface ModifyOptions extends WriteOptions {
  /** The revision that the document must have; else `Conflict`. */
  readonly expected?: number;
}

/** An entity's documents. Throws what `Collection` throws. */
export interface EntityCollection<T, M> {
  readonly definition: EntityDefinition<T, M>;
  get(id: string): Promise<Stored<T> | undefined>;
  getMany(ids: readonly string[]): Promise<Stored<T>[]>;
  find(query: Query): Promise<Page<T>>;
  count(where?: Where): Promise<number>;
  insert(id: string, value: T, options?: InsertOptions): Promise<Stored<T>>;
  /** `change` may run several times and must be pure; `undefined` leaves the document alone. */
  modify(
    id: string,
    change: (value: T, stored: Stored<T>) => T | undefined,
    options?: ModifyOptions,
  ): Promise<Stored<T>>;
  remove(id: string, options?: ModifyOptions): Promise<void>;
  message(stored: Stored<T>): M;
  /**
   * The event of a write that the owner makes through `documents` itself, e.g. in a batch: undefined when nothing
   * public changes. `after` carries the revision and the counter that the write will result in.
   */
  eventOf(
    before: Stored<T> | undefined,
    after: Stored<T> | undefined,
    options?: WriteOptions,
  ): Json | undefined;
  /** The collection beneath. Writing through it directly makes no events. */
  readonly documents: Collection<T>;
}

const entityWord = /^[a-z][a-z0-9_-]*$/;
/** AIP-122: plural, camel case. */
const collectionWord = /^[a-z][A-Za-z0-9]*$/;

/** Checks and completes a definition. */
export function defineEntity<T, M>(definition: EntityDefinition<T, M>): EntityDefinition<T, M> {
  if (!entityWord.test(definition.entity) || !collectionWord.test(definition.collection)) {
    throw new Invalid(
      'FIELD_INVALID',
      `entity "${definition.entity}" of ${definition.collection}: malformed words`,
    );
  }
  return Object.freeze({ ...definition, store: { ...definition.store, collapse: collapseEvents } });
}

/**
 * One event of many that piled up: from the oldest state to the newest. What was created meanwhile is `created`,
 * what is gone is the last event as it is.
 */
export function collapseEvents(pending: readonly PendingEvent[]): Json {
  const first = payloadOf(pending[0]?.payload ?? null);
  const last = payloadOf(pending.at(-1)?.payload ?? null);
  const { old } = first.change;
  const { new: now } = last.change;
  const change = {
    ...(old && { old }),
    ...(now && { new: now }),
    changedPaths: changedPaths(old, now),
  };
  const verb = now && !old ? first.verb : last.verb;
  return { ...last, verb, change } satisfies EventPayload as unknown as Json;
}

export function addressOf<T, M>(definition: EntityDefinition<T, M>, id: string, value: T): EntityAddress {
  return { entity: definition.entity, uid: id, ...definition.place(value) };
}
