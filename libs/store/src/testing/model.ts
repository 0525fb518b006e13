// Random operations, on the store and on the in-memory model; every answer has to agree.
// NEPHOS_SEED repeats a run; the seed stands in the test's name, and fast-check shrinks what fails.
import { randomInt } from 'node:crypto';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Collection, Condition, Expected, Store, Write } from '../collection.ts';
import { defineCollection } from '../definition.ts';
import type { FreshStore, OpenFresh, Part } from './fixture.ts';
import { parts } from './fixture.ts';
import { Model } from './reference.ts';

const runs = 40;

type Step =
  | { readonly step: 'write'; readonly write: Write<Part> }
  | { readonly step: 'batch'; readonly writes: readonly Write<Part>[] }
  | { readonly step: 'modify'; readonly id: string; readonly rank: number; readonly event: boolean }
  | { readonly step: 'clear'; readonly id: string; readonly upTo: number }
  | {
      readonly step: 'find';
      readonly orderBy: string | undefined;
      readonly where: Readonly<Record<string, Condition>>;
      readonly descending: boolean;
      readonly limit: number;
    }
  | { readonly step: 'reopen' };

const id = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'é');
const label = fc.string({ unit: fc.constantFrom('a', 'b', '%', '\uffff', '\u{1f600}'), maxLength: 3 });
const rank = fc.integer({ min: -2, max: 4 });
const owner = fc.constantFrom('o1', 'o2');

const part: fc.Arbitrary<Part> = fc.record(
  {
    name: fc.constantFrom('n1', 'n2', 'n3', null),
    owner,
    rank,
    label,
    spec: fc.record({ size: fc.double({ noNaN: true, min: -5, max: 5 }), hidden: fc.boolean() }),
    note: fc.string({ unit: 'grapheme' }),
  },
  { requiredKeys: [] },
);

const event = fc.option(fc.jsonValue({ maxDepth: 1 }), { nil: undefined }) as fc.Arbitrary<
  string | undefined
>;
const expected: fc.Arbitrary<Expected> = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 5 }) },
  { weight: 1, arbitrary: fc.record({ where: fc.record({ rank }) }) },
  { weight: 1, arbitrary: fc.constant({ where: { name: null } }) },
);

const write: fc.Arbitrary<Write<Part>> = fc
  .oneof(
    fc.record({ kind: fc.constant('insert' as const), id, value: part, event }),
    fc.record({ kind: fc.constant('update' as const), id, expected, value: part, event }),
    fc.record({
      kind: fc.constant('remove' as const),
      id,
      expected: fc.option(expected, { nil: undefined }),
      event,
    }),
  )
  // Without undefined fields, and -0, which JSON does not know.
  .map((made) => JSON.parse(JSON.stringify(made)) as Write<Part>);

const range = <V extends string | number>(value: fc.Arbitrary<V>): fc.Arbitrary<Condition> =>
  fc.oneof(
    fc.record({ gte: value }),
    fc.record({ gt: value, lte: value }),
    fc.record({ lt: value }),
    fc.record({ in: fc.array(value, { maxLength: 3 }) }),
    value,
  ) as fc.Arbitrary<Condition>;

const question = fc.oneof(
  fc.record({ orderBy: fc.constantFrom('id', 'byName', 'byOwnerAndLabel', 'byOwnerAndRank', 'bySize') }),
  fc.record({ where: fc.record({ label: fc.oneof(range(label), fc.record({ prefix: label })) }) }),
  fc.record({ where: fc.record({ owner, rank: range(rank) }) }),
  fc.record({ where: fc.record({ owner: range(owner) }), orderBy: fc.constant('byOwnerAndLabel') }),
  fc.record({ where: fc.record({ 'spec.hidden': fc.boolean() }) }),
  fc.record({ where: fc.record({ id: range(id) }) }),
) as fc.Arbitrary<{ orderBy?: string; where?: Record<string, Condition> }>;

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 40, arbitrary: fc.record({ step: fc.constant('write' as const), write }) },
  {
    weight: 8,
    arbitrary: fc.record({ step: fc.constant('batch' as const), writes: fc.array(write, { maxLength: 6 }) }),
  },
  {
    weight: 12,
    arbitrary: fc.record({ step: fc.constant('modify' as const), id, rank, event: fc.boolean() }),
  },
  { weight: 8, arbitrary: fc.record({ step: fc.constant('clear' as const), id, upTo: fc.nat({ max: 6 }) }) },
  {
    weight: 20,
    arbitrary: fc
      .tuple(question, fc.boolean(), fc.integer({ min: 1, max: 4 }))
      .map(([{ orderBy, where }, descending, limit]) => ({
        step: 'find' as const,
        orderBy,
        where: where ?? {},
        descending,
        limit,
      })),
  },
  { weight: 1, arbitrary: fc.constant({ step: 'reopen' as const }) },
);

/** The error's name stands for it on both sides. */
async function outcomeOf(work: () => unknown): Promise<unknown> {
  try {
    return await work();
  } catch (error) {
    return { failed: (error as Error).name };
  }
}

function carryOut(
  target: Pick<Collection<Part>, 'insert' | 'update' | 'remove'>,
  one: Write<Part>,
): Promise<unknown> {
  if (one.kind === 'insert') return target.insert(one.id, one.value, one.event);
  if (one.kind === 'update') return target.update(one.id, one.expected, one.value, one.event);
  return target.remove(one.id, one.expected, one.event);
}

async function compare(collection: Collection<Part>, store: Store, model: Model, one: Step): Promise<void> {
  switch (one.step) {
    case 'write':
      expect(await outcomeOf(() => carryOut(collection, one.write))).toEqual(
        await outcomeOf(() => carryOut(model, one.write)),
      );
      break;
    case 'batch': {
      const results = await collection.batch(one.writes);
      const found = results.map((result) => (result.ok ? result.stored : { failed: result.error.name }));
      const wanted: unknown[] = [];
      for (const each of one.writes) wanted.push(await outcomeOf(() => carryOut(model, each)));
      expect(found).toEqual(wanted);
      break;
    }
    case 'modify': {
      const change = ({ value }: { value: Part }) => ({
        value: { ...value, rank: one.rank },
        ...(one.event ? { event: 'm' } : {}),
      });
      expect(await outcomeOf(() => collection.modify(one.id, change))).toEqual(
        await outcomeOf(() => model.modify(one.id, change)),
      );
      break;
    }
    case 'clear':
      await store.outbox.clear(collection.name, one.id, one.upTo);
      model.clear(one.id, one.upTo);
      break;
    case 'find':
      await compareFind(collection, model, one);
      break;
    case 'reopen':
      break;
  }
}

async function compareFind(
  collection: Collection<Part>,
  model: Model,
  { where, orderBy, descending, limit }: Extract<Step, { step: 'find' }>,
): Promise<void> {
  const wanted = model.find(where, orderBy, descending);
  const query = { where, descending, limit, ...(orderBy === undefined ? {} : { orderBy }) };
  const found = [];
  for (let cursor: string | undefined; ; ) {
    const page = await collection.find({ ...query, ...(cursor === undefined ? {} : { cursor }) });
    found.push(...page.items);
    if (page.nextCursor === undefined) break;
    expect(page.items).toHaveLength(limit);
    cursor = page.nextCursor;
  }
  expect(found).toEqual(wanted);
  if (orderBy === undefined) expect(await collection.count(where)).toBe(wanted.length);
}

/** The store that all runs share; each has a collection of its own in it. */
class SharedStore {
  readonly #fresh: FreshStore;
  #open: Store | undefined;

  constructor(fresh: FreshStore) {
    this.#fresh = fresh;
  }

  async get(): Promise<Store> {
    this.#open ??= await this.#fresh.open();
    return this.#open;
  }

  async close(): Promise<void> {
    await this.#open?.[Symbol.asyncDispose]();
    this.#open = undefined;
  }
}

/** One run, from an empty collection to the last step. */
async function runSteps(shared: SharedStore, name: string, steps: readonly Step[]): Promise<void> {
  const definition = defineCollection<Part>({ ...parts, name });
  const model = new Model(definition);
  for (const one of steps) {
    if (one.step === 'reopen') await shared.close();
    const store = await shared.get();
    await compare(await store.collection(definition), store, model, one);
  }
  const store = await shared.get();
  const collection = await store.collection(definition);
  expect((await collection.find({ limit: 100 })).items).toEqual(model.find({}, undefined, false));
  const pending = await store.outbox.pending({ limit: 1000, after: `${name}/` });
  const ours = pending.filter((one) => one.collection === name);
  expect(
    ours.map(({ id: of, deleted, eventSeq, events }) => ({ id: of, deleted, eventSeq, events })),
  ).toEqual(model.pending());
}

export function modelTests(openFresh: OpenFresh): void {
  const seed = Number(process.env['NEPHOS_SEED'] ?? randomInt(2 ** 31));
  test(`random operations agree with the model (NEPHOS_SEED=${seed})`, async () => {
    const fresh = await openFresh();
    const shared = new SharedStore(fresh);
    let run = 0;
    const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) =>
      runSteps(shared, `run${run++}`, steps),
    );
    try {
      await fc.assert(property, { seed, numRuns: runs });
    } finally {
      await shared.close();
      await fresh.destroy();
    }
    expect(run).toBeGreaterThanOrEqual(runs);
  });
}
