// The in-memory model of a collection that random operations are compared with: the contract, as plainly as can be.

import { expect } from '@jest/globals';
import { AlreadyExists, Conflict, NotFound } from '@nephos/service';
import type {
  Change,
  CollectionDefinition,
  Condition,
  Expected,
  Json,
  Scalar,
  Stored,
} from '../collection.ts';
import type { Part } from './fixture.ts';

interface Entry {
  readonly stored: Stored<Part>;
  readonly removed: boolean;
  readonly events: readonly { readonly seq: number; readonly payload: Json }[];
}

function at(value: unknown, path: string): Scalar | undefined {
  let current = value;
  for (const name of path.split('.')) current = (current as Record<string, unknown> | undefined)?.[name];
  return (current ?? undefined) as Scalar | undefined;
}

function order(a: Scalar, b: Scalar): number {
  if (typeof a === 'string' && typeof b === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return Number(a) - Number(b);
}

function meets(value: Scalar | undefined, condition: Condition): boolean {
  if (value === undefined) return false;
  if (typeof condition !== 'object') return value === condition;
  if ('in' in condition) return condition.in.includes(value);
  if ('prefix' in condition) return String(value).startsWith(condition.prefix);
  const { gte, gt, lte, lt } = condition;
  return (
    (gte === undefined || order(value, gte) >= 0) &&
    (gt === undefined || order(value, gt) > 0) &&
    (lte === undefined || order(value, lte) <= 0) &&
    (lt === undefined || order(value, lt) < 0)
  );
}

export class Model {
  readonly #definition: CollectionDefinition<Part>;
  readonly #entries = new Map<string, Entry>();

  constructor(definition: CollectionDefinition<Part>) {
    this.#definition = definition;
  }

  async insert(id: string, value: Part, event?: Json): Promise<Stored<Part>> {
    const before = this.#entries.get(id);
    if (before !== undefined && !before.removed) throw new AlreadyExists('RESOURCE_EXISTS', id);
    this.#checkUnique(id, value);
    return this.#put(id, before, value, false, event);
  }

  async update(id: string, expected: Expected, value: Part, event?: Json): Promise<Stored<Part>> {
    const before = this.#checked(id, expected);
    this.#checkUnique(id, value);
    return this.#put(id, before, value, false, event);
  }

  async modify(id: string, change: (current: Stored<Part>) => Change<Part>): Promise<Stored<Part>> {
    const { stored } = this.#checked(id, undefined);
    const { value, event } = change(stored);
    return await this.update(id, stored.revision, value, event);
  }

  async remove(id: string, expected?: Expected, event?: Json): Promise<void> {
    this.#put(id, this.#checked(id, expected), {}, true, event);
  }

  clear(id: string, upTo: number): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.set(id, { ...entry, events: entry.events.filter((event) => event.seq > upTo) });
  }

  find(
    where: Readonly<Record<string, Condition>>,
    orderBy: string | undefined,
    descending: boolean,
  ): Stored<Part>[] {
    const paths = Object.keys(where).filter((path) => path !== 'id');
    const index =
      orderBy ??
      Object.entries(this.#definition.indexes).find(
        ([, { fields }]) => fields.length === paths.length && fields.every((field) => paths.includes(field)),
      )?.[0];
    const fields =
      index === undefined || index === 'id' ? [] : (this.#definition.indexes[index]?.fields ?? []);
    const keyOf = (stored: Stored<Part>, path: string): Scalar | undefined =>
      path === 'id' ? stored.id : at(stored.value, path);
    return Array.from(this.#entries.values())
      .filter(
        (entry) => !entry.removed && fields.every((field) => at(entry.stored.value, field) !== undefined),
      )
      .map((entry) => entry.stored)
      .filter((stored) => Object.entries(where).every(([path, one]) => meets(keyOf(stored, path), one)))
      .toSorted((a, b) => {
        const differing = [...fields, 'id'].map((path) => order(keyOf(a, path) ?? 0, keyOf(b, path) ?? 0));
        return (differing.find((one) => one !== 0) ?? 0) * (descending ? -1 : 1);
      });
  }

  pending(): unknown[] {
    return Array.from(this.#entries.entries())
      .filter(([, entry]) => entry.events.length > 0)
      .toSorted(([a], [b]) => order(a, b))
      .map(([id, { stored, removed, events }]) => ({
        id,
        deleted: removed,
        eventSeq: stored.eventSeq,
        events: events.map(({ seq, payload }) => ({ seq, firstSeq: seq, at: expect.any(String), payload })),
      }));
  }

  #checked(id: string, expected: Expected | undefined): Entry {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.removed) throw new NotFound('RESOURCE_NOT_FOUND', id);
    const { stored } = entry;
    const holds =
      typeof expected === 'object'
        ? Object.entries(expected.where).every(([path, value]) => (at(stored.value, path) ?? null) === value)
        : expected === undefined || expected === stored.revision;
    if (!holds) throw new Conflict('REVISION_MISMATCH', id);
    return entry;
  }

  #checkUnique(id: string, value: Part): void {
    for (const { fields, unique } of Object.values(this.#definition.indexes)) {
      const key = fields.map((field) => at(value, field));
      if (unique !== true || key.includes(undefined)) continue;
      for (const [other, entry] of this.#entries) {
        if (other === id || entry.removed) continue;
        const same = fields.every((field, n) => at(entry.stored.value, field) === key[n]);
        if (same) throw new AlreadyExists('RESOURCE_EXISTS', id);
      }
    }
  }

  #put(
    id: string,
    before: Entry | undefined,
    value: Part,
    removed: boolean,
    event: Json | undefined,
  ): Stored<Part> {
    const eventSeq = (before?.stored.eventSeq ?? 0) + (event === undefined ? 0 : 1);
    const stored = { id, revision: (before?.stored.revision ?? 0) + 1, eventSeq, value };
    const events = before?.events ?? [];
    const added = event === undefined ? events : [...events, { seq: eventSeq, payload: event }];
    this.#entries.set(id, { stored, removed, events: added });
    return stored;
  }
}
