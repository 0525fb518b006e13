// What a database has to do for the store; everything else (schemas, cursors, modify, collapsing) is shared.
// Owner: libs/store; one implementation an adapter. Invariant: a promise that resolved stands for synced data.
import type {
  Cleared,
  Expected,
  IndexDefinition,
  Json,
  PendingDocument,
  PendingEvent,
} from './collection.ts';
import type { JsonText } from './json-text.ts';
import type { Plan } from './plan.ts';

/** A document as it is stored, before any schema is applied. */
export interface Row {
  readonly id: string;
  readonly revision: number;
  readonly eventSeq: number;
  readonly schema: number;
  readonly value: Json;
}

export interface EventToAdd {
  readonly at: string;
  readonly payload: Json;
  /** The payload as its writer has encoded it, if so: reading `payload` then costs the parsing. */
  readonly encoded?: JsonText;
}

export type WriteRequest =
  | {
      readonly kind: 'insert';
      readonly id: string;
      readonly value: Json;
      /** The writer's version; a document of a newer neighbour keeps its own, one further away is refused. */
      readonly schema: number;
      readonly event: EventToAdd | undefined;
      /** Refuse an id that has a tombstone. */
      readonly fresh: boolean;
    }
  | {
      readonly kind: 'update';
      readonly id: string;
      readonly expected: Expected;
      readonly value: Json;
      readonly schema: number;
      readonly event: EventToAdd | undefined;
    }
  | {
      readonly kind: 'remove';
      readonly id: string;
      readonly expected: Expected | undefined;
      /** Milliseconds since 1970; for the sweep. */
      readonly removedAt: number;
      readonly schema: number;
      readonly event: EventToAdd | undefined;
    };

/** What a write left behind. */
export interface Written {
  readonly revision: number;
  readonly eventSeq: number;
  /** Unpublished events of the document, and the bytes of their payloads; 0 for a write without an event. */
  readonly pendingCount: number;
  readonly pendingBytes: number;
}

/** Errors are those of the contract (collection.ts), thrown by the driver. */
export interface Driver {
  open(collection: string, indexes: Readonly<Record<string, IndexDefinition>>): Promise<void>;
  /** Those that exist, in any order. */
  get(collection: string, ids: readonly string[]): Promise<Row[]>;
  find(collection: string, plan: Plan): Promise<Row[]>;
  count(collection: string, plan: Plan): Promise<number>;
  write(collection: string, request: WriteRequest): Promise<Written>;
  /** In order, a result per item. */
  writeAll(collection: string, requests: readonly WriteRequest[]): Promise<PromiseSettledResult<Written>[]>;
  pendingOf(collection: string, id: string): Promise<PendingEvent[]>;
  /** Puts one event in the place of exactly `first.seq..last.seq`; does nothing when they are no longer that. */
  collapse(
    collection: string,
    id: string,
    range: { readonly first: PendingEvent; readonly last: PendingEvent; readonly count: number },
    payload: Json,
  ): Promise<void>;
  pending(limit: number, after: string | undefined, read: (text: string) => Json): Promise<PendingDocument[]>;
  clear(collection: string, id: string, upToSeq: number): Promise<void>;
  /** Where one operation can clear many; without it each is cleared by itself. */
  clearAll?(cleared: readonly Cleared[]): Promise<void>;
  /** Deletes at most `limit` tombstones removed before that time that have no pending events; returns how many. */
  sweepTombstones(removedBefore: number, limit: number): Promise<number>;
  ping(): Promise<void>;
  close(): Promise<void>;
}
