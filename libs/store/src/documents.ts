// The collection that services hold: applies schemas, cursors, modify's loop and collapsing over any driver.
// Owner: libs/store. Invariants: holds no document between calls; within one process modifies of a document
// queue up instead of losing to each other. A crash between a write and the collapse it called for leaves the
// events as they are: the next write with an event collapses them.
import { type Clock, Conflict } from '@nephos/service';
import type {
  Change,
  Collection,
  CollectionDefinition,
  Expected,
  InsertOptions,
  Json,
  Page,
  Query,
  Stored,
  Where,
  Write,
  WriteResult,
} from './collection.ts';
import { checkFieldPath } from './definition.ts';
import type { Driver, EventToAdd, Row, WriteRequest, Written } from './driver.ts';
import { notFound } from './failures.ts';
import { eventToAdd } from './json-text.ts';
import { KeyedQueue } from './keyed-queue.ts';
import type { OutboxHub } from './outbox.ts';
import { cursorBehind, isEmpty, planCount, planFind } from './plan.ts';
import { readRow } from './schema.ts';
import { checkId, checkIndexed, checkScalar } from './values.ts';

const maxAttempts = 30;
const eagerAttempts = 3;
const longestPauseMs = 50;

export class DocumentCollection<T> implements Collection<T> {
  readonly #definition: CollectionDefinition<T>;
  readonly #driver: Driver;
  readonly #outbox: OutboxHub;
  readonly #clock: Clock;
  readonly #modifies = new KeyedQueue();

  constructor(definition: CollectionDefinition<T>, driver: Driver, outbox: OutboxHub, clock: Clock) {
    this.#definition = definition;
    this.#driver = driver;
    this.#outbox = outbox;
    this.#clock = clock;
  }

  get name(): string {
    return this.#definition.name;
  }

  async get(id: string): Promise<Stored<T> | undefined> {
    checkId(id);
    const [row] = await this.#driver.get(this.name, [id]);
    return row === undefined ? undefined : readRow(this.#definition, row);
  }

  async getMany(ids: readonly string[]): Promise<Stored<T>[]> {
    for (const id of ids) checkId(id);
    if (ids.length === 0) return [];
    const rows = await this.#driver.get(this.name, [...new Set(ids)]);
    const byId = new Map(rows.map((row) => [row.id, row]));
    return ids.flatMap((id) => {
      const row = byId.get(id);
      return row === undefined ? [] : [readRow(this.#definition, row)];
    });
  }

  async find(query: Query): Promise<Page<T>> {
    const plan = planFind(this.#definition, query);
    if (isEmpty(plan)) return { items: [] };
    const rows = await this.#driver.find(this.name, { ...plan, limit: plan.limit + 1 });
    const page = rows.slice(0, plan.limit);
    const items = page.map((row) => readRow(this.#definition, row));
    const last = page.at(-1);
    const behind = ({ id, value }: Row): string => cursorBehind(plan, id, value);
    const found = { items, ...(query.cursors === true && { cursors: page.map(behind) }) };
    if (rows.length <= plan.limit || last === undefined) return found;
    return { ...found, nextCursor: behind(last) };
  }

  async count(where: Where = {}): Promise<number> {
    const plan = planCount(this.#definition, where);
    return isEmpty(plan) ? 0 : await this.#driver.count(this.name, plan);
  }

  insert(id: string, value: T, event?: Json, options: InsertOptions = {}): Promise<Stored<T>> {
    return this.#write({ kind: 'insert', id, value, ...eventOf(event), ...options }) as Promise<Stored<T>>;
  }

  update(id: string, expected: Expected, next: T, event?: Json): Promise<Stored<T>> {
    return this.#write({ kind: 'update', id, expected, value: next, ...eventOf(event) }) as Promise<
      Stored<T>
    >;
  }

  async remove(id: string, expected?: Expected, event?: Json): Promise<void> {
    await this.#write({
      kind: 'remove',
      id,
      ...(expected === undefined ? {} : { expected }),
      ...eventOf(event),
    });
  }

  modify(id: string, change: (current: Stored<T>) => Change<T> | undefined): Promise<Stored<T>> {
    return this.#modifies.run(id, async () => {
      for (let attempt = 1; ; attempt += 1) {
        const current = await this.get(id);
        if (current === undefined) throw notFound(this.name, id);
        const next = change(current);
        if (next === undefined) return current;
        try {
          return await this.update(id, current.revision, next.value, next.event);
        } catch (error) {
          if (!(error instanceof Conflict) || attempt === maxAttempts) throw error;
          await this.#pauseBehind(attempt);
        }
      }
    });
  }

  async batch(writes: readonly Write<T>[]): Promise<WriteResult<T>[]> {
    const prepared = writes.map((write) => attempt(() => this.#request(write)));
    const requests = prepared.flatMap((one) => (one.ok ? [one.value] : []));
    const outcomes = await this.#driver.writeAll(this.name, requests);
    let next = 0;
    return await Promise.all(
      prepared.map(async (one, position): Promise<WriteResult<T>> => {
        if (!one.ok) return one;
        const outcome = outcomes[next++] as PromiseSettledResult<Written>;
        if (outcome.status === 'rejected') return { ok: false, error: outcome.reason as Error };
        const write = writes[position] as Write<T>;
        if (one.value.event !== undefined) await this.#announce(write.id, one.value.event, outcome.value);
        const stored = storedBy(write, outcome.value);
        return stored === undefined ? { ok: true } : { ok: true, stored };
      }),
    );
  }

  async #write(write: Write<T>): Promise<Stored<T> | undefined> {
    const request = this.#request(write);
    const written = await this.#driver.write(this.name, request);
    const collapsing = request.event && this.#announce(write.id, request.event, written);
    if (collapsing !== undefined) await collapsing;
    return storedBy(write, written);
  }

  #announce(id: string, event: EventToAdd, written: Written): Promise<void> | undefined {
    return this.#outbox.committed(this.#definition, id, event, written);
  }

  /** Checks a write and turns it into what the driver takes. Throws `Invalid`. */
  #request(write: Write<T>): WriteRequest {
    checkId(write.id);
    const common = {
      id: write.id,
      schema: this.#definition.schemaVersion,
      event: this.#event(write.event),
    };
    if (write.kind === 'remove') {
      const removedAt = this.#clock.now().getTime();
      return { ...common, kind: 'remove', expected: this.#expected(write.expected), removedAt };
    }
    const value = write.value as Json;
    checkIndexed(this.#definition, value);
    if (write.kind === 'insert') {
      return { ...common, kind: 'insert', value, fresh: write.fresh ?? false };
    }
    return { ...common, kind: 'update', value, expected: this.#expected(write.expected) as Expected };
  }

  #expected(expected: Expected | undefined): Expected | undefined {
    if (typeof expected !== 'object') return expected;
    for (const [path, value] of Object.entries(expected.where)) {
      checkFieldPath(this.name, path);
      if (value !== null) checkScalar(value, path);
    }
    return expected;
  }

  #event(payload: Json | undefined): EventToAdd | undefined {
    return payload === undefined ? undefined : eventToAdd(this.#clock.now().toISOString(), payload);
  }

  async #pauseBehind(attempt: number): Promise<void> {
    if (attempt <= eagerAttempts) return;
    await this.#clock.sleep(Math.random() * Math.min(2 ** (attempt - eagerAttempts), longestPauseMs));
  }
}

function storedBy<T>(write: Write<T>, { revision, eventSeq }: Written): Stored<T> | undefined {
  return write.kind === 'remove' ? undefined : { id: write.id, revision, eventSeq, value: write.value };
}

function eventOf(event: Json | undefined): { readonly event?: Json } {
  return event === undefined ? {} : { event };
}

function attempt<R>(make: () => R): { ok: true; value: R } | { ok: false; error: Error } {
  try {
    return { ok: true, value: make() };
  } catch (error) {
    return { ok: false, error: error as Error };
  }
}
