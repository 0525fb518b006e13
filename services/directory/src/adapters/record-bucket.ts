/**
 * The records in the bus: one JetStream key-value bucket, a key an instance. Every write is conditional on the
 * revision that it replaces. Living instances rewrite their keys now and then, so the bucket's age limit sweeps
 * tombstones alone. Reads go to the stream's leader: a replica's stale answer would only cost another round.
 * Lost, the bucket is made anew and the replicas write what they know.
 */
import { JetStreamApiError } from '@nats-io/jetstream';
import { type KV, Kvm } from '@nats-io/kv';
import { raiseReplicas, type Session } from '@nephos/events';
import { Conflict, isUid, Unavailable } from '@nephos/service';
import { type InstanceRecord, schemaVersion } from '../domain/record.ts';
import type { Kept } from '../domain/roster.ts';

const bucketName = 'nephos-directory';
/** A key that is no instance: each reader writes it and has read all that was there once it sees it come. */
const markKey = 'mark';
/** Longer than the event stream's: a tombstone's counter outlives what anybody could compare it with. */
const tombstoneMs = 8 * 24 * 60 * 60 * 1000;
const answerMs = 2000;
/** That the broker has too few servers: the bus says it of its streams. */
const saidAlready = { error: () => undefined };
/** JetStream's "wrong last sequence", with and without the sequence. */
const wrongRevision: readonly number[] = [10071, 10164];

export interface Seen {
  readonly uid: string;
  readonly kept: Kept;
}

export class RecordBucket {
  readonly #kv: KV;

  private constructor(kv: KV) {
    this.#kv = kv;
  }

  /** Opens the bucket, making it where missing. */
  static async open({ js, jsm }: Session, replicas: number): Promise<RecordBucket> {
    const limits = { history: 1, ttl: tombstoneMs, storage: 'file', replicas, allow_direct: false } as const;
    const kv = await new Kvm(js).create(bucketName, limits);
    await raiseReplicas(jsm, [await jsm.streams.info(`KV_${bucketName}`)], replicas, saidAlready);
    return new RecordBucket(kv);
  }

  async get(uid: string): Promise<Kept> {
    const entry = await this.#kv.get(uid).catch(unavailable);
    return entry === null ? { record: undefined, revision: 0 } : keptOf(entry);
  }

  /** The new revision. Throws Conflict when the record is not at `over` any more, Unavailable when nobody answers. */
  async put(record: InstanceRecord, over: number): Promise<number> {
    try {
      return await this.#kv.put(record.uid, JSON.stringify(record), { previousSeq: over, timeout: answerMs });
    } catch (error) {
      if (error instanceof JetStreamApiError && wrongRevision.includes(error.code)) {
        throw new Conflict('REVISION_MISMATCH', `instances/${record.uid} is not at revision ${over}`);
      }
      return unavailable(error);
    }
  }

  /** All records, then `read`, then each change until the signal aborts. */
  async *watch(signal: AbortSignal): AsyncGenerator<Seen | 'read'> {
    const entries = await this.#kv.watch();
    const stop = () => entries.stop();
    signal.addEventListener('abort', stop, { once: true });
    try {
      const mark = await this.#kv.put(markKey, '');
      let read = false;
      for await (const entry of entries) {
        if (isUid(entry.key)) yield { uid: entry.key, kept: keptOf(entry) };
        else if (entry.key === markKey && entry.revision >= mark && !read) {
          read = true;
          yield 'read';
        }
      }
    } finally {
      signal.removeEventListener('abort', stop);
      entries.stop();
    }
  }
}

/** A record of a schema more than one version ahead, or none of ours, counts as absent: it is written over. */
function keptOf(entry: { readonly revision: number; readonly operation: string; string(): string }): Kept {
  const { revision } = entry;
  if (entry.operation !== 'PUT') return { record: undefined, revision };
  const record = parsed(entry.string());
  return { record: record && record.schema <= schemaVersion + 1 ? record : undefined, revision };
}

function parsed(text: string): InstanceRecord | undefined {
  try {
    return (JSON.parse(text) as InstanceRecord | null) ?? undefined;
  } catch {
    return undefined;
  }
}

function unavailable(cause: unknown): never {
  throw new Unavailable('SERVICE_UNAVAILABLE', 'the bus does not answer', { cause });
}
