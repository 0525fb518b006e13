/**
 * Mutating requests happen once (DESIGN section 4, AIP-155): whoever repeats a request, at once or after a restart,
 * gets the same entity and the same job.
 * Owner: the service whose store it is. Invariants: nothing is done before the record is durable; `carryOut` reads
 * the record alone (and the request again, where somebody asks), so that any repeat or the sweeper can finish it; a
 * refusal leaves no record, so that a corrected retry is not blocked; the body goes once it was carried out. A crash
 * leaves an open record, which the next repeat or sweep carries out.
 */
import {
  AlreadyExists,
  type Call,
  type Clock,
  Conflict,
  Invalid,
  NephosError,
  NotFound,
  runAs,
} from '@nephos/service';
import type { Collection, Json, Store, Stored, StoreLog } from '@nephos/store';
import { type AnsweredRequest, digest, type RequestRecord, recordId, requestCollection } from './record.ts';

/** What a method mints and settles before the request is accepted. */
export interface Accepted<B extends Json> {
  readonly entityUid: string;
  readonly jobUid?: string;
  readonly body: B;
}

/** A mutating method. */
export interface MethodDefinition<B extends Json, R> {
  /** `/package.Service/Method`. */
  readonly name: string;
  /**
   * Does it. Called again after a crash, and perhaps by two processes at once: what is there already under the
   * record's ids is success, what was there and is gone is `goneSince`. May refuse (any error but `Unavailable` and its
   * like) only if it left nothing.
   */
  carryOut(record: RequestRecord<B>, round: Round): Promise<R>;
  /** What a repeat gets once it was carried out: the same thing as it is now. */
  answer(record: AnsweredRequest): Promise<R>;
}

/** One go at carrying a request out. */
export interface Round {
  /** False only where nobody can have begun on it before. */
  readonly again: boolean;
  /** The request as it was sent, for what is not in the record; undefined where nobody asks now: in a sweep. */
  readonly request: Uint8Array | undefined;
}

/** What is needed of the call being served. */
export type Caller = Pick<Call, 'principal' | 'onBehalfOf' | 'requestId' | 'detach'>;

/**
 * Serves one call. `prepare` checks the request and mints ids; it runs only for a request that was not accepted
 * before, and may throw what it likes: nothing is left. Throws `Invalid` REQUEST_ID_REUSED.
 */
export type IdempotentMethod<B extends Json, R> = (
  caller: Caller,
  request: Uint8Array,
  prepare: () => Promise<Accepted<B>>,
) => Promise<R>;

export interface IdempotencyOptions {
  readonly clock: Clock;
  readonly log?: Pick<StoreLog, 'warn'>;
  /** How long a request id is remembered, in milliseconds. Default 24 hours. */
  readonly keepMs?: number;
  /** How long another process may take with an open record before the sweeper steps in. Default 15 seconds. */
  readonly graceMs?: number;
}

/** Opens the records of a service. */
export async function openIdempotency(store: Store, options: IdempotencyOptions): Promise<Idempotency> {
  return new Idempotency(await store.collection(requestCollection), store.exclusive, options);
}

const pageSize = 200;
/** Open requests that a sweep carries out at a time: what one waits for keeps few others waiting. */
const sweepBreadth = 32;

/** What a call is answered with. */
interface Outcome {
  readonly result: unknown;
}

const refusals: ReadonlySet<string> = new Set([
  'invalid',
  'not-found',
  'already-exists',
  'precondition',
  'denied',
  'unauthenticated',
  'out-of-range',
]);

function isRefusal(error: unknown): boolean {
  return error instanceof NephosError && (refusals.has(error.kind) || error.reason === 'ETAG_MISMATCH');
}

/** What was asked for was done, and what it made is gone since: told to the caller, and never done again. */
class GoneSince extends NotFound {}

/** Thrown by a `carryOut` that finds what it made removed meanwhile. */
export function goneSince(collection: string, uid: string): NotFound {
  return new GoneSince('RESOURCE_NOT_FOUND', `${collection}/${uid} was made and is gone since`, {
    metadata: { resource: `${collection}/${uid}` },
  });
}

export class Idempotency {
  readonly #records: Collection<RequestRecord>;
  readonly #options: IdempotencyOptions;
  readonly #graceMs: number;
  readonly #methods = new Map<string, MethodDefinition<Json, unknown>>();
  /** What this process carries out now, by record id: repeats that come meanwhile wait for the same. */
  readonly #running = new Map<string, Promise<Outcome | undefined>>();
  /** What this process carried out and could not mark as such yet: it is never carried out again. */
  readonly #done = new Set<string>();
  /** When this process first saw a record open, on its monotonic clock. */
  readonly #seenOpen = new Map<string, number>();

  constructor(records: Collection<RequestRecord>, exclusive: boolean, options: IdempotencyOptions) {
    this.#records = records;
    this.#options = options;
    this.#graceMs = exclusive ? 0 : (options.graceMs ?? 15_000);
  }

  /** Declares a mutating method, once a process. */
  method<B extends Json, R>(definition: MethodDefinition<B, R>): IdempotentMethod<B, R> {
    const { name } = definition;
    if (this.#methods.has(name)) throw new Invalid('FIELD_INVALID', `${name} is declared twice`);
    const method = definition as unknown as MethodDefinition<Json, unknown>;
    this.#methods.set(name, method);
    return async (caller, request, prepare) => (await this.#serve(method, caller, request, prepare)) as R;
  }

  async #serve(
    method: MethodDefinition<Json, unknown>,
    caller: Caller,
    request: Uint8Array,
    prepare: () => Promise<Accepted<Json>>,
  ): Promise<unknown> {
    const id = recordId(caller.principal, method.name, caller.requestId);
    const bodyHash = digest(request);
    for (;;) {
      const known = await this.#records.get(id);
      if (known) {
        const outcome = await this.#repeat(method, known, { bodyHash, request }, caller);
        if (outcome) return outcome.result;
        continue;
      }
      const accepted = await this.#unlessAccepted(id, prepare);
      if (accepted === undefined) continue;
      const record = this.#recordOf(method.name, caller, bodyHash, accepted);
      caller.detach();
      const stored = await this.#insert(id, record);
      const outcome = stored && (await this.#carry(method, stored, { again: false, request }));
      if (outcome) return outcome.result;
    }
  }

  /**
   * Undefined when an equal request was accepted meanwhile: what refuses this one may be what that one did, such as
   * the removal that both ask for.
   */
  async #unlessAccepted(
    id: string,
    prepare: () => Promise<Accepted<Json>>,
  ): Promise<Accepted<Json> | undefined> {
    try {
      return await prepare();
    } catch (refusal) {
      if (await this.#records.get(id)) return undefined;
      throw refusal;
    }
  }

  /** Undefined when an equal request came first. */
  async #insert(id: string, record: RequestRecord): Promise<Stored<RequestRecord> | undefined> {
    try {
      return await this.#records.insert(id, record);
    } catch (error) {
      if (error instanceof AlreadyExists) return undefined;
      throw error;
    }
  }

  #recordOf(method: string, caller: Caller, bodyHash: string, accepted: Accepted<Json>): RequestRecord {
    const now = this.#options.clock.now().toISOString();
    return {
      principal: caller.principal,
      ...(caller.onBehalfOf !== undefined && { onBehalfOf: caller.onBehalfOf }),
      method,
      requestId: caller.requestId,
      bodyHash,
      entityUid: accepted.entityUid,
      jobUid: accepted.jobUid ?? '',
      body: accepted.body,
      createTime: now,
      openSince: now,
    };
  }

  /** Undefined: the record changed meanwhile and has to be read again. */
  async #repeat(
    method: MethodDefinition<Json, unknown>,
    stored: Stored<RequestRecord>,
    { bodyHash, request }: { readonly bodyHash: string; readonly request: Uint8Array },
    caller: Caller,
  ): Promise<Outcome | undefined> {
    if (stored.value.bodyHash !== bodyHash) {
      throw new Invalid('REQUEST_ID_REUSED', `request id ${caller.requestId} came before with another body`);
    }
    if (stored.value.openSince === undefined) return { result: await method.answer(stored.value) };
    caller.detach();
    return await this.#carry(method, stored, { again: true, request });
  }

  #carry(
    method: MethodDefinition<Json, unknown>,
    stored: Stored<RequestRecord>,
    round: Round,
  ): Promise<Outcome | undefined> {
    const running = this.#running.get(stored.id);
    if (running) return running;
    const work = this.#carryOnce(method, stored, round).finally(() => this.#running.delete(stored.id));
    this.#running.set(stored.id, work);
    return work;
  }

  /**
   * Undefined: it is not open any more. Whoever carries out again looks again first: it may have been carried out
   * since the record was read, and what it made may be changed or gone by now.
   */
  async #carryOnce(
    method: MethodDefinition<Json, unknown>,
    { id, value }: Stored<RequestRecord>,
    round: Round,
  ): Promise<Outcome | undefined> {
    if (round.again && (await this.#records.get(id))?.value.openSince === undefined) return undefined;
    if (this.#done.has(id)) {
      await this.#settle(id, value);
      return undefined;
    }
    try {
      const result = await method.carryOut(value, round);
      this.#done.add(id);
      await this.#settle(id, value);
      return { result };
    } catch (error) {
      if (error instanceof GoneSince) await this.#settle(id, value);
      else if (isRefusal(error)) await this.#withdraw(id, value);
      throw error;
    }
  }

  /**
   * Marks it carried out, without the body that only that needed; puts it back if another process withdrew it after a
   * refusal it met alone.
   */
  async #settle(id: string, record: RequestRecord): Promise<void> {
    const { openSince: _open, ...rest } = record;
    const closed = { ...rest, body: null };
    try {
      await this.#records.modify(id, ({ value }) =>
        value.openSince === undefined ? undefined : { value: closed },
      );
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
      await this.#records.insert(id, closed);
    }
    this.#done.delete(id);
  }

  async #withdraw(id: string, { entityUid }: RequestRecord): Promise<void> {
    const current = await this.#records.get(id);
    if (current?.value.entityUid !== entityUid || current.value.openSince === undefined) return;
    await this.#records.remove(id, current.revision).catch(ignoreLost);
  }

  /** One pass: carries out what a crash left open, forgets what is older than the time kept. */
  async sweep(signal?: AbortSignal): Promise<void> {
    await this.#finishOpen(signal);
    await this.#forgetOld(signal);
  }

  async #finishOpen(signal: AbortSignal | undefined): Promise<void> {
    const open = new Set<string>();
    const finishing = new Set<Promise<void>>();
    for await (const stored of this.#each('open', {}, signal)) {
      open.add(stored.id);
      const { clock } = this.#options;
      const since = this.#seenOpen.get(stored.id) ?? clock.monotonic();
      this.#seenOpen.set(stored.id, since);
      if (clock.monotonic() - since < this.#graceMs || this.#running.has(stored.id)) continue;
      const finish = this.#finish(stored).finally(() => finishing.delete(finish));
      finishing.add(finish);
      if (finishing.size >= sweepBreadth) await Promise.race(finishing);
    }
    await Promise.all(finishing);
    for (const id of this.#seenOpen.keys()) if (!open.has(id)) this.#seenOpen.delete(id);
  }

  async #finish(stored: Stored<RequestRecord>): Promise<void> {
    const { method: name, principal, onBehalfOf, requestId } = stored.value;
    const method = this.#methods.get(name);
    if (!method)
      return this.#options.log?.warn({ method: name, requestId }, 'an open request of an unknown method');
    try {
      await runAs({ principal, onBehalfOf, requestId }, () =>
        this.#carry(method, stored, { again: true, request: undefined }),
      );
    } catch (error) {
      this.#options.log?.warn({ method: name, requestId, err: error }, 'an open request was not carried out');
    }
  }

  async #forgetOld(signal: AbortSignal | undefined): Promise<void> {
    const { clock, keepMs = 24 * 60 * 60_000 } = this.#options;
    const before = new Date(clock.now().getTime() - keepMs).toISOString();
    for await (const stored of this.#each('created', { createTime: { lt: before } }, signal)) {
      if (stored.value.openSince !== undefined) continue;
      await this.#records.remove(stored.id, stored.revision).catch(ignoreLost);
    }
  }

  async *#each(
    orderBy: string,
    where: Record<string, { lt: string }>,
    signal: AbortSignal | undefined,
  ): AsyncIterable<Stored<RequestRecord>> {
    let cursor: string | undefined;
    do {
      const page = await this.#records.find({ where, orderBy, limit: pageSize, ...(cursor && { cursor }) });
      for (const stored of page.items) {
        if (signal?.aborted) return;
        yield stored;
      }
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }
}

/** Another process dealt with the record first. */
function ignoreLost(error: unknown): void {
  if (!(error instanceof Conflict || error instanceof NotFound)) throw error;
}
