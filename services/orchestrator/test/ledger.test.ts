/** The ledger of a host's capacity: whatever is asked of it, the sum of the claims fits. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { claim, claimedOf, freeOf, type Ledger, release, totalOf } from '../src/domain/capacity/ledger.ts';

const empty: Ledger = {
  capacity: { vcpus: 4, memoryBytes: 1000, diskBytes: 1000 },
  overcommit: { cpu: 2, memory: 1 },
  claims: {},
};
const amounts = fc.record({
  vcpus: fc.integer({ min: 0, max: 8 }),
  memoryBytes: fc.integer({ min: 0, max: 800 }),
  diskBytes: fc.integer({ min: 0, max: 800 }),
});
const step = fc.record({ vm: fc.constantFrom('a', 'b', 'c', 'd'), amounts: fc.option(amounts) });

test('no sequence of claims and releases exceeds the host or loses an amount', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
      let ledger = empty;
      for (const { vm, amounts: wanted } of steps) {
        const result = wanted === null ? undefined : claim(ledger, vm, wanted);
        if (result === undefined) ledger = release(ledger, vm) ?? ledger;
        if (result?.kind === 'claimed') ledger = result.ledger;
        const [total, claimed, free] = [totalOf(ledger), claimedOf(ledger), freeOf(ledger)];
        for (const kind of ['vcpus', 'memoryBytes', 'diskBytes'] as const) {
          expect(claimed[kind]).toBeLessThanOrEqual(total[kind]);
          expect(claimed[kind] + free[kind]).toBe(total[kind]);
        }
      }
    }),
  );
});

test('a claim repeated is held, a larger one is measured by its growth, a refusal says what lacks', () => {
  const first = claim(empty, 'a', { vcpus: 6, memoryBytes: 600, diskBytes: 0 });
  expect(first.kind).toBe('claimed');
  const { ledger } = first as { ledger: Ledger };
  expect(claim(ledger, 'a', { vcpus: 6, memoryBytes: 600, diskBytes: 0 })).toEqual({ kind: 'held' });
  expect(claim(ledger, 'a', { vcpus: 8, memoryBytes: 600, diskBytes: 0 }).kind).toBe('claimed');
  expect(claim(ledger, 'b', { vcpus: 1, memoryBytes: 500, diskBytes: 0 })).toEqual({
    kind: 'refused',
    lacks: 'memoryBytes',
  });
});

test('a host that shrank under its claims takes none but gives back', () => {
  const full: Ledger = { ...empty, claims: { a: { vcpus: 8, memoryBytes: 1000, diskBytes: 0 } } };
  const shrunk: Ledger = { ...full, capacity: { vcpus: 1, memoryBytes: 100, diskBytes: 1000 } };
  expect(claim(shrunk, 'b', { vcpus: 1, memoryBytes: 1, diskBytes: 1 }).kind).toBe('refused');
  expect(claim(shrunk, 'a', { vcpus: 0, memoryBytes: 0, diskBytes: 0 }).kind).toBe('claimed');
  expect(release(shrunk, 'a')?.claims).toEqual({});
});
