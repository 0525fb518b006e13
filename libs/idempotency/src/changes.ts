/**
 * Updates and deletions of a record happen once (AIP-155): a repeat is answered as the first was, not with a stale
 * etag or as not found, and what a crash kept from settling is never done over what came after it.
 * The record itself remembers the last requests that changed it, in the same write as the change; so whoever carries
 * out again, here or on another instance, can tell its own work from anybody else's.
 */
import { Conflict, NotFound, notFound } from '@nephos/service';
import type { Json, Stored } from '@nephos/store';
import type { Idempotency, IdempotentMethod } from './idempotency.ts';
import { type RequestRecord, recordId } from './record.ts';

/** A record that remembers which requests changed it last, oldest first. */
export interface Remembering {
  readonly requests?: readonly string[];
}

const mostRemembered = 8;
/** Enough of a digest to tell a record's last requests apart. */
const markLength = 16;
/** How often a change is tried again when another writer (an agent's report, a projection) came between. */
const attempts = 10;

function markOf({ principal, method, requestId }: RequestRecord): string {
  return recordId(principal, method, requestId).slice(0, markLength);
}

/** The request changed this record before. */
export function wasApplied({ requests = [] }: Remembering, request: RequestRecord): boolean {
  return requests.includes(markOf(request));
}

/** The record as changed by the request. */
export function withApplied<T extends Remembering>(record: T, request: RequestRecord): T {
  const before = (record.requests ?? []).slice(1 - mostRemembered);
  return { ...record, requests: [...before, markOf(request)] };
}

/** What is needed of an entity's collection. */
export interface ChangedEntity<T, M> {
  readonly definition: { readonly collection: string };
  get(id: string): Promise<Stored<T> | undefined>;
  modify(id: string, change: (value: T) => T, options: { readonly expected: number }): Promise<Stored<T>>;
  remove(id: string, options: { readonly expected: number }): Promise<void>;
  message(stored: Stored<T>): M;
}

export interface UpdateDefinition<T, M, B extends Json> {
  /** `/package.Service/Method`. */
  readonly name: string;
  readonly entity: Pick<ChangedEntity<T, M>, 'definition' | 'get' | 'modify' | 'message'>;
  /** The record after the update. Run again after each write that came between; refuses by throwing. */
  change(stored: Stored<T>, body: B): T;
  /** What a refusal of the store is told as, e.g. a name taken. */
  readonly refused?: (error: unknown, body: B) => unknown;
  /** Runs after the write, and again in a repeat of what did not settle. */
  readonly written?: (stored: Stored<T>) => Promise<void> | void;
}

/** Declares a method that changes a record. Its answer is the record: of a repeat, as it is then. */
export function updating<T extends Remembering, M, B extends Json>(
  all: Idempotency,
  definition: UpdateDefinition<T, M, B>,
): IdempotentMethod<B, M> {
  const { name, entity, change, refused = (error) => error, written } = definition;
  const there = async (uid: string): Promise<Stored<T>> => {
    const stored = await entity.get(uid);
    if (stored === undefined) throw notFound(entity.definition.collection, uid);
    return stored;
  };
  const changeOnce = async (request: RequestRecord<B>): Promise<Stored<T>> => {
    const stored = await there(request.entityUid);
    if (wasApplied(stored.value, request)) return stored;
    const next = withApplied(change(stored, request.body), request);
    return await entity
      .modify(stored.id, () => next, { expected: stored.revision })
      .catch((error: unknown) => {
        throw refused(error, request.body);
      });
  };
  return all.method<B, M>({
    name,
    carryOut: async (request) => {
      const stored = await unlessOvertaken(() => changeOnce(request));
      await written?.(stored);
      return entity.message(stored);
    },
    answer: async ({ entityUid }) => entity.message(await there(entityUid)),
  });
}

export interface RemovalDefinition<T, B extends Json> {
  /** `/package.Service/Method`. */
  readonly name: string;
  readonly entity: Pick<ChangedEntity<T, unknown>, 'get' | 'remove'>;
  /** Refuses by throwing; what it began is taken back by `notRemoved`. */
  check(stored: Stored<T>, body: B): Promise<void> | void;
  readonly notRemoved?: (uid: string) => Promise<void>;
  /** Runs after the removal, and again in a repeat of what did not settle. */
  readonly removed?: (uid: string, body: B) => Promise<void> | void;
}

/**
 * Declares a method that removes a record. A repeat finds it gone, which is what was asked for; a request for what is
 * not there is refused where it is prepared.
 */
export function removing<T, B extends Json>(
  all: Idempotency,
  definition: RemovalDefinition<T, B>,
): IdempotentMethod<B, void> {
  const { name, entity, check, notRemoved, removed } = definition;
  const removeOnce = async ({ entityUid, body }: RequestRecord<B>): Promise<void> => {
    const stored = await entity.get(entityUid);
    // It was there when the request was accepted: whoever carries the same request out elsewhere may have been first.
    if (stored === undefined) return;
    await check(stored, body);
    try {
      await entity.remove(entityUid, { expected: stored.revision });
    } catch (error) {
      if (error instanceof NotFound) return;
      await notRemoved?.(entityUid);
      throw error;
    }
  };
  return all.method<B, void>({
    name,
    carryOut: async (request) => {
      await unlessOvertaken(() => removeOnce(request));
      await removed?.(request.entityUid, request.body);
    },
    answer: () => Promise.resolve(),
  });
}

async function unlessOvertaken<R>(work: () => Promise<R>): Promise<R> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const overtaken = error instanceof Conflict && error.reason === 'REVISION_MISMATCH';
      if (!overtaken || attempt === attempts) throw error;
    }
  }
}
