/**
 * What is kept of a mutating request: who sent it under which id, what it said, and the ids minted for it.
 * The record is the request's first durable act; its id is a digest of principal, method and request id, so that a
 * second one cannot be inserted. `openSince` stands only until the request is carried out, and is how a sweeper
 * finds what a crash left between.
 */
import { createHash } from 'node:crypto';
import { defineCollection, type Json } from '@nephos/store';

/** A request that was accepted. */
export interface RequestRecord<B extends Json = Json> {
  readonly principal: string;
  readonly onBehalfOf?: string;
  /** `/package.Service/Method`. */
  readonly method: string;
  readonly requestId: string;
  /** SHA-256 of the request message, hex. */
  readonly bodyHash: string;
  /** Minted for it, and the same in every repeat. */
  readonly entityUid: string;
  /** Uid of the job that does the work; empty where none is needed. */
  readonly jobUid: string;
  /** All that carrying it out needs, settled when it was accepted; null in the store once that is done. */
  readonly body: B;
  /** RFC 3339, on the accepting process's wall clock. */
  readonly createTime: string;
  /** Equal to `createTime` until it was carried out, then missing. */
  readonly openSince?: string;
}

/** What is left of it once it was carried out. */
export type AnsweredRequest = Omit<RequestRecord, 'body' | 'openSince'>;

export const requestCollection = defineCollection<RequestRecord>({
  name: 'requests',
  schemaVersion: 1,
  indexes: {
    created: { fields: ['createTime'] },
    open: { fields: ['openSince'] },
  },
});

/** The record's id. */
export function recordId(principal: string, method: string, requestId: string): string {
  return digest(JSON.stringify([principal, method, requestId]));
}

/** What tells two bodies apart. */
export function digest(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
