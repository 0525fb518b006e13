/**
 * Twenty seeds of the fault matrix (`pnpm faults --seeds 200` runs more): each step of create, stop, delete and
 * expunge, and each undo of a create, loses parts of the platform to SIGKILL; every operation ends well and the oracle
 * finds nothing wrong.
 */
import { expect, test } from '@jest/globals';
import { matrixOf } from './faults/matrix.ts';
import { killsOf, operations, parts } from './faults/places.ts';
import { runSeeds } from './faults/run.ts';

const seeds = Array.from({ length: 20 }, (_, seed) => seed);

test('as many seeds as there are places strike each place once', () => {
  const steps = operations.flatMap(({ operation }) =>
    Array.from({ length: 7 }, (_, index) => ({ operation, step: String(index) })),
  );
  const places = Array.from({ length: 7 * parts.length * 2 }, (_, seed) => killsOf(seed, steps)).flat();
  const named = places.map(({ operation, step, part, when }) => `${operation} ${step} ${part} ${when}`);
  expect(new Set(named).size).toBe(steps.length * parts.length * 2);
});

test('any part may die at any step', async () => {
  const { steps, outcomes, problems, verdict } = await runSeeds(seeds, () => undefined);
  process.stdout.write(`\n${matrixOf(steps, outcomes)}\n\n`);
  expect(problems).toEqual([]);
  expect(steps.length).toBeGreaterThan(25);
  expect(outcomes).toHaveLength(seeds.length * operations.length);
  expect(verdict.events.events).toBeGreaterThan(1000);
}, 900_000);
