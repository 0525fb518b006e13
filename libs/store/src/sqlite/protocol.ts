// What travels between a store and its worker thread: arrays of operations one way, of replies the other.
// Owner: the SQLite adapter. Values and payloads travel as JSON text, so that neither side parses what only
// passes through it.
import type { IndexDefinition, Scalar } from '../collection.ts';
import type { Plan } from '../plan.ts';
import type { PackedWrite } from './packing.ts';

/** How the worker is started. */
export interface WorkerSettings {
  readonly file: string;
}

/** An indexed field of a document, as SQLite has it: booleans are 1 and 0. */
export type Indexed = string | number | null;

/** What the document must be: of this revision, of these field values; `undefined`: anything. */
export type Guard = number | readonly (readonly [path: string, value: Scalar | null])[] | undefined;

export interface EventText {
  readonly at: string;
  readonly payload: string;
}

export type Operation =
  | {
      readonly op: 'open';
      readonly collection: string;
      readonly indexes: Readonly<Record<string, IndexDefinition>>;
    }
  | { readonly op: 'get'; readonly collection: string; readonly ids: readonly string[] }
  | { readonly op: 'find'; readonly collection: string; readonly plan: Plan }
  | { readonly op: 'count'; readonly collection: string; readonly plan: Plan }
  | WriteOperation
  | { readonly op: 'pendingOf'; readonly collection: string; readonly id: string }
  | {
      readonly op: 'clearAll';
      readonly events: readonly (readonly [collection: string, id: string, upToSeq: number])[];
    }
  | {
      readonly op: 'collapse';
      readonly collection: string;
      readonly id: string;
      readonly firstSeq: number;
      readonly fromSeq: number;
      readonly toSeq: number;
      readonly count: number;
      readonly event: EventText;
    }
  | { readonly op: 'pending'; readonly limit: number; readonly after: readonly [string, string] }
  | { readonly op: 'clear'; readonly collection: string; readonly id: string; readonly upToSeq: number }
  | { readonly op: 'sweep'; readonly removedBefore: number; readonly limit: number }
  | { readonly op: 'ping' };

export type WriteOperation =
  | {
      readonly op: 'insert';
      readonly collection: string;
      readonly id: string;
      readonly value: string;
      readonly indexed: readonly Indexed[];
      readonly schema: number;
      readonly event: EventText | undefined;
      readonly fresh: boolean;
    }
  | {
      readonly op: 'update';
      readonly collection: string;
      readonly id: string;
      readonly guard: Guard;
      readonly value: string;
      readonly indexed: readonly Indexed[];
      readonly schema: number;
      readonly event: EventText | undefined;
    }
  | {
      readonly op: 'remove';
      readonly collection: string;
      readonly id: string;
      readonly guard: Guard;
      readonly removedAt: number;
      readonly schema: number;
      readonly event: EventText | undefined;
    };

/** A document: id, revision, eventSeq, schema, value. */
export type RowText = readonly [string, number, number, number, string];

/** A pending event: seq, firstSeq, at, payload. */
export type EventRow = readonly [number, number, string, string];

export interface PendingRow {
  readonly collection: string;
  readonly id: string;
  readonly deleted: boolean;
  readonly eventSeq: number;
  readonly events: readonly EventRow[];
}

/** Why an operation was refused; the store makes the contract's error of it. */
export type Refusal =
  | { readonly kind: 'not-found' }
  | { readonly kind: 'exists'; readonly index: string }
  | { readonly kind: 'removed' }
  | { readonly kind: 'conflict' }
  | { readonly kind: 'schema'; readonly stored: number; readonly own: number }
  | { readonly kind: 'too-large' }
  | { readonly kind: 'duplicates'; readonly index: string }
  | { readonly kind: 'storage-full' }
  | { readonly kind: 'internal'; readonly message: string };

export type Reply = { readonly result: unknown } | { readonly refused: Refusal };

export type ToWorker =
  | { readonly operations: readonly (Operation | PackedWrite)[] }
  | { readonly close: true };

export type FromWorker =
  | { readonly opened: true }
  | { readonly notOpened: { readonly busy: boolean; readonly message: string } }
  | { readonly replies: readonly Reply[] }
  | { readonly closed: true };
