/**
 * Writes jobs in batches: what is asked for while one batch is on its way makes the next, so that many jobs share
 * one synced commit. Invariants: writes go to the store in the order asked for; every update filters on the epoch
 * under which the job is held, so that a former owner changes nothing. A promise that resolved stands for a synced
 * write.
 */
import type { Collection, Expected, Json, Stored, Write, WriteResult } from '@nephos/store';
import type { JobRecord } from '../domain/record.ts';

interface Asked {
  readonly write: Write<JobRecord>;
  readonly settle: PromiseWithResolvers<Stored<JobRecord>>;
}

/** Two: one is being synced while the next is on its way to the store. */
const mostOnTheWay = 2;
const mostInBatch = 1000;

export class JobWriter {
  readonly #documents: Collection<JobRecord>;
  #asked: Asked[] = [];
  readonly #onTheWay = new Set<Promise<void>>();
  #scheduled = false;

  constructor(documents: Collection<JobRecord>) {
    this.#documents = documents;
  }

  /** Throws `AlreadyExists`. */
  insert(uid: string, value: JobRecord, event: Json | undefined): Promise<Stored<JobRecord>> {
    return this.#ask({ kind: 'insert', id: uid, value, ...(event !== undefined && { event }) });
  }

  /** `expected`: the epoch held, or the revision read. Throws `Conflict`, `NotFound`. */
  update(
    uid: string,
    expected: { readonly epoch: number } | number,
    value: JobRecord,
    event: Json | undefined,
  ): Promise<Stored<JobRecord>> {
    const guard: Expected = typeof expected === 'number' ? expected : { where: { epoch: expected.epoch } };
    return this.#ask({
      kind: 'update',
      id: uid,
      expected: guard,
      value,
      ...(event !== undefined && { event }),
    });
  }

  /** Resolves once all that was asked for before is answered. */
  async flush(): Promise<void> {
    await this.#asked.at(-1)?.settle.promise.catch(() => {});
    await Promise.all(this.#onTheWay);
  }

  #ask(write: Write<JobRecord>): Promise<Stored<JobRecord>> {
    const settle = Promise.withResolvers<Stored<JobRecord>>();
    this.#asked.push({ write, settle });
    this.#schedule();
    return settle.promise;
  }

  #schedule(): void {
    if (this.#scheduled || this.#onTheWay.size >= mostOnTheWay || this.#asked.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const batch = this.#asked.splice(0, mostInBatch);
      const sent = this.#send(batch).then(() => {
        this.#onTheWay.delete(sent);
        this.#schedule();
      });
      this.#onTheWay.add(sent);
      this.#schedule();
    });
  }

  async #send(batch: readonly Asked[]): Promise<void> {
    try {
      const results = await this.#documents.batch(batch.map(({ write }) => write));
      for (const [at, { settle }] of batch.entries()) conclude(results[at], settle);
    } catch (error) {
      for (const { settle } of batch) settle.reject(error);
    }
  }
}

function conclude(
  result: WriteResult<JobRecord> | undefined,
  { resolve, reject }: PromiseWithResolvers<Stored<JobRecord>>,
): void {
  if (result?.ok === true && result.stored !== undefined) resolve(result.stored);
  else reject(result?.ok === false ? result.error : new Error('the store gave no result for a write'));
}
