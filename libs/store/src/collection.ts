// The store's contract: collections of JSON documents with compare-and-set and an outbox inside each write.
// Owner: libs/store; every adapter implements exactly this and passes the conformance suite.
// Invariants: a write and the event it causes are one atomic single-document write; `revision` rises by one a
// write, `eventSeq` by one an event; a promise that resolved stands for a synced write. A crash leaves each
// document either wholly before or wholly after a write.
import type { Clock } from '@nephos/service';

/** A JSON value. Fields that are `undefined` are not stored, and -0 is stored as 0. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json | undefined };

/** What an index, a condition and a field guard compare. */
export type Scalar = string | number | boolean;

/** One stored document. */
export interface Stored<T> {
  readonly id: string;
  /** For compare-and-set: 1 after the insert, +1 a write. Clearing published events does not touch it. */
  readonly revision: number;
  /** A dense counter: +1 an event, untouched by writes without one. 0 while there was none. */
  readonly eventSeq: number;
  readonly value: T;
}

/** An event travelling inside the document that caused it. */
export interface PendingEvent {
  readonly seq: number;
  /** Equal to `seq`; lower when the events `firstSeq..seq` collapsed into this one. */
  readonly firstSeq: number;
  /** When the write was asked for: RFC 3339, UTC, from the writer's wall clock. */
  readonly at: string;
  /** Opaque to the store; a `JsonText` where the writer gave one and this process hears of its commit. */
  readonly payload: Json;
}

/**
 * An index over dotted paths into the value. Sparse: a document in which one of the fields is missing or null
 * is not in the index, so a query through the index does not return it and `unique` does not bind it.
 */
export interface IndexDefinition {
  readonly fields: readonly string[];
  readonly unique?: boolean;
}

/** A collection, declared once. Values of `T` are JSON data. */
export interface CollectionDefinition<T> {
  /** `[a-z][a-z0-9_]*`, at most 48 characters; unique in a store. */
  readonly name: string;
  /** Starts at 1. Readers accept one version back and one forward; see `upgrade`. */
  readonly schemaVersion: number;
  /**
   * Brings a document of the version before (`fromVersion = schemaVersion - 1`) to this one, on reading. Without
   * it such a document is read as it is. A document of `schemaVersion + 1` is always read as it is, and written
   * back under its own version: writers spread the current value, so that fields they do not know stay.
   */
  readonly upgrade?: (raw: Json, fromVersion: number) => T;
  readonly indexes: Readonly<Record<string, IndexDefinition>>;
  /** Makes one payload of many when events pile up unpublished. Oldest first. Default: the last one's payload. */
  readonly collapse?: (pending: readonly PendingEvent[]) => Json;
}

/** A condition on one path: a value it equals, one of several, or a range. Strings compare by code point. */
export type Condition =
  | Scalar
  | {
      readonly gte?: string | number;
      readonly gt?: string | number;
      readonly lt?: string | number;
      readonly lte?: string | number;
    }
  | { readonly prefix: string }
  | { readonly in: readonly Scalar[] };

/** All must hold. The key is a dotted path into the value, or `id`. */
export type Where = Readonly<Record<string, Condition>>;

/**
 * A page of documents. Served by one index only: the conditions name its leading fields (equality or `in` first,
 * then at most one range or prefix), then perhaps `id`. Without `orderBy` the index is the one whose fields are
 * exactly those of `where` (none: by id); an index with further fields has to be named by `orderBy`.
 */
export interface Query {
  readonly where?: Where;
  /** An index's name, or `id`. Order: its fields, then id. */
  readonly orderBy?: string;
  readonly descending?: boolean;
  /** 1 to 1000. */
  readonly limit: number;
  /** `nextCursor` of a page of the same query; the limit may differ. */
  readonly cursor?: string;
  /** True: the page has a cursor for each of its items. */
  readonly cursors?: boolean;
}

/** A page. Without `nextCursor` there is no more. */
export interface Page<T> {
  readonly items: Stored<T>[];
  readonly nextCursor?: string;
  /** The position behind each item, where the query asked for them. */
  readonly cursors?: readonly string[];
}

/** What the stored document must look like for a write to go through: its revision, or values of its fields. */
export type Expected = number | { readonly where: Readonly<Record<string, Scalar | null>> };

/** One write of a batch. */
export type Write<T> =
  | {
      readonly kind: 'insert';
      readonly id: string;
      readonly value: T;
      readonly event?: Json;
      readonly fresh?: boolean;
    }
  | {
      readonly kind: 'update';
      readonly id: string;
      readonly expected: Expected;
      readonly value: T;
      readonly event?: Json;
    }
  | { readonly kind: 'remove'; readonly id: string; readonly expected?: Expected; readonly event?: Json };

/** The result of one write of a batch: the document (none after a remove), or the error it would have thrown. */
export type WriteResult<T> =
  | { readonly ok: true; readonly stored?: Stored<T> }
  | { readonly ok: false; readonly error: Error };

/** What `modify` makes of the current document; `undefined` leaves it alone. */
export interface Change<T> {
  readonly value: T;
  readonly event?: Json;
}

/** How to insert. */
export interface InsertOptions {
  /**
   * Refuse an id that was removed (AlreadyExists, as for one that is there), so that a late repeat of a create
   * cannot bring back what was deleted meanwhile. Holds until the tombstone is swept: a day, and published.
   */
  readonly fresh?: boolean;
}

/**
 * A service's documents of one kind. Every method may also throw `Unavailable` (the store failed or is closed)
 * and `Exhausted` (too many operations waiting).
 */
export interface Collection<T> {
  readonly name: string;
  get(id: string): Promise<Stored<T> | undefined>;
  /** Those that exist, in the order asked for. */
  getMany(ids: readonly string[]): Promise<Stored<T>[]>;
  /** Throws `Invalid`: no index serves it, or (PAGE_TOKEN_INVALID) the cursor is malformed or another query's. */
  find(query: Query): Promise<Page<T>>;
  /** How many match; same rule for `where` as `find`. */
  count(where?: Where): Promise<number>;
  /** Throws `AlreadyExists` naming the unique index, or `id`. */
  insert(id: string, value: T, event?: Json, options?: InsertOptions): Promise<Stored<T>>;
  /** Replaces the value. Throws `Conflict` when the document is not as expected, `NotFound`, `AlreadyExists`. */
  update(id: string, expected: Expected, next: T, event?: Json): Promise<Stored<T>>;
  /**
   * Read, change, compare-and-set, again on a conflict (bounded, then `Conflict`). `change` may run several times
   * and must be pure; `undefined` means no change, and the document is returned as read. Throws `NotFound`.
   */
  modify(id: string, change: (current: Stored<T>) => Change<T> | undefined): Promise<Stored<T>>;
  /**
   * Leaves a tombstone, invisible to reads, that carries the event until it is published. An insert of the same
   * id continues its counters (or is refused: `InsertOptions.fresh`). Throws `NotFound`, `Conflict`.
   */
  remove(id: string, expected?: Expected, event?: Json): Promise<void>;
  /** In order, a result per item, whatever became of the others; nothing is promised between documents. */
  batch(writes: readonly Write<T>[]): Promise<WriteResult<T>[]>;
}

/** A document with unpublished events, oldest first. */
export interface PendingDocument {
  /** The position to hand to `pending` as `after`. */
  readonly key: string;
  readonly collection: string;
  readonly id: string;
  readonly deleted: boolean;
  /** The document's counter; the last event's `seq`. */
  readonly eventSeq: number;
  readonly events: readonly PendingEvent[];
}

/** An event just committed by this process. A hint: what counts is what `pending` returns. */
export interface CommittedEvent {
  readonly collection: string;
  readonly id: string;
  readonly event: PendingEvent;
}

/** Events of a document that are published, up to a sequence. */
export interface Cleared {
  readonly collection: string;
  readonly id: string;
  readonly upToSeq: number;
}

export interface PendingOptions {
  readonly limit: number;
  /** The key of the document before. */
  readonly after?: string;
  /** Makes a payload of the text that a store keeps; default `JSON.parse`. Not called where a store keeps no text. */
  readonly read?: (text: string) => Json;
}

/** What the relay sees. */
export interface Outbox {
  /** Documents with pending events, ordered by key; may return fewer than `limit` though there are more: empty is the end. */
  pending(options: PendingOptions): Promise<PendingDocument[]>;
  /** Forgets events with `seq <= upToSeq`. Touches neither revision nor eventSeq. Idempotent. */
  clear(collection: string, id: string, upToSeq: number): Promise<void>;
  /** The same for many documents at once; where it fails, some may be cleared. */
  clearAll(cleared: readonly Cleared[]): Promise<void>;
  /** Called after each commit of this process that left pending events. */
  onPending(listener: (committed: readonly CommittedEvent[]) => void): Disposable;
  /** Deletes tombstones removed longer ago than this whose events are all cleared; returns how many. */
  sweepTombstones(olderThanMs: number): Promise<number>;
}

/** A service's store: collections and one outbox. Disposing waits for what was accepted, then closes. */
export interface Store extends AsyncDisposable {
  /** Opens a collection and applies its indexes. The same definition again returns the same collection. */
  collection<T>(definition: CollectionDefinition<T>): Promise<Collection<T>>;
  readonly outbox: Outbox;
  /** True: this process alone can hold it, so a previous holder is dead. */
  readonly exclusive: boolean;
  /**
   * Resolves once if the store fails for good (a process should then exit); never otherwise. A MongoDB that is away
   * is no such failure: calls and `ping` throw `Unavailable` until it is back.
   */
  readonly failure: Promise<Error>;
  /** Throws `Unavailable` unless the store answers. */
  ping(): Promise<void>;
}

/** What a store may log; pino's logger fits. */
export interface StoreLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** How to open a store. */
export interface StoreOptions {
  /** `sqlite:///absolute/path/file.db` (the folder is made where missing) or `mongodb://host/database`. */
  readonly url: string;
  readonly clock: Clock;
  readonly log?: StoreLog;
  /** Operations that may wait before `Exhausted`. Default 50,000. */
  readonly maxWaiting?: number;
}
