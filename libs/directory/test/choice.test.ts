/** Which address a call goes to: by weight, by zone, by how it fared. Chance is seeded; counts decide. */
import { describe, expect, test } from '@jest/globals';
import { Choice, mayLeaveOut, Standing, type Target } from '../src/choice.ts';

/** A small generator with a seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function standing(address: string, more: Partial<Target> = {}): Standing {
  return new Standing({ address, zone: '', weight: 100, ...more });
}

function shares(choice: Choice, calls = 20_000): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let call = 0; call < calls; call += 1) {
    const address = choice.next()?.target.address ?? 'nobody';
    counts[address] = (counts[address] ?? 0) + 1 / calls;
  }
  return counts;
}

const near = (share: number) => expect.closeTo(share, 1.5);

describe('by weight', () => {
  test('each gets its share of calls that do not overlap', () => {
    const all = [standing('a', { weight: 50 }), standing('b'), standing('c', { weight: 250 })];
    expect(shares(new Choice(all, all, '', seeded(1)))).toEqual({
      a: near(0.125),
      b: near(0.25),
      c: near(0.625),
    });
  });

  test('of two drawn the one with fewer calls under way for its weight is taken', () => {
    const [busy, idle] = [standing('busy'), standing('idle')];
    busy.pending = 10;
    const { busy: busyShare = 0, idle: idleShare = 0 } = shares(
      new Choice([busy, idle], [busy, idle], '', seeded(2)),
    );
    // Only where both draws fall on the busy one.
    expect(busyShare).toBeCloseTo(0.25, 1);
    expect(idleShare).toBeCloseTo(0.75, 1);
  });

  test('with nobody there is nobody', () => {
    expect(new Choice([], [], 'z').next()).toBeUndefined();
  });
});

describe('by zone', () => {
  const east = [1, 2, 3, 4].map((n) => standing(`east-${n}`, { zone: 'zones/east' }));
  const west = [1, 2].map((n) => standing(`west-${n}`, { zone: 'zones/west' }));
  const all = [...east, ...west];
  const ownShare = (ready: readonly Standing[], zone = 'zones/east') =>
    Object.entries(shares(new Choice(all, ready, zone, seeded(3))))
      .filter(([address]) => address.startsWith(zone.slice('zones/'.length)))
      .reduce((sum, [, share]) => sum + share, 0);

  test('the own zone takes all while enough of it can', () => {
    expect(ownShare(all)).toBeCloseTo(1);
    expect(ownShare([...east.slice(0, 3), ...west])).toBeCloseTo(1);
  });

  test('with too few the rest spills over, with none all', () => {
    expect(ownShare([...east.slice(0, 2), ...west])).toBeCloseTo(0.5 / 0.7, 1);
    expect(ownShare([...east.slice(0, 1), ...west])).toBeCloseTo(0.25 / 0.7, 1);
    expect(ownShare(west)).toBe(0);
  });

  test('who fails counts as not there', () => {
    for (const each of east.slice(1)) each.leaveOut(0);
    expect(ownShare(all)).toBeCloseTo(0.25 / 0.7, 1);
    for (const each of east) each.comeBack();
  });

  test('a caller or a service without zones goes everywhere', () => {
    const counts = shares(new Choice(all, all, '', seeded(4)));
    expect(Object.keys(counts).sort()).toEqual(all.map(({ target }) => target.address).sort());
    expect(Object.keys(shares(new Choice(all, all, 'zones/north', seeded(5)))).length).toBe(6);
  });
});

describe('by how they fare', () => {
  const fail = (one: Standing, times: number) => Array.from({ length: times }, () => one.ended(true));

  test('five failures in a row are too many; a success between begins anew', () => {
    const one = standing('a');
    expect(fail(one, 4)).toEqual([false, false, false, false]);
    one.ended(false);
    expect(fail(one, 4).includes(true)).toBe(false);
    expect(one.ended(true)).toBe(true);
  });

  test('more than half of the last twenty are too many', () => {
    const one = standing('a');
    const ends = Array.from({ length: 21 }, (_, call) => one.ended(call % 2 === 0));
    expect(ends.slice(0, 20).includes(true)).toBe(false);
    const worse = standing('b');
    const judged = Array.from({ length: 20 }, (_, call) => worse.ended(call % 5 !== 0 || call === 0));
    expect(judged.at(-1)).toBe(true);
  });

  test('left out for longer each time; on its return one failure is enough and one success restores it', () => {
    const one = standing('a');
    one.leaveOut(0);
    expect(one.returnsAt).toBe(2000);
    one.comeBack();
    expect(one.ended(true)).toBe(true);
    one.leaveOut(2000);
    expect(one.returnsAt).toBe(6000);
    one.comeBack();
    one.ended(false);
    expect(fail(one, 4).includes(true)).toBe(false);
  });

  test('never more than half, and never the only one', () => {
    const all = ['a', 'b', 'c'].map((address) => standing(address));
    expect(mayLeaveOut(all)).toBe(true);
    all[0]?.leaveOut(0);
    expect(mayLeaveOut(all)).toBe(false);
    expect(mayLeaveOut(all.slice(0, 1))).toBe(false);
    const others = shares(new Choice(all, all, '', seeded(6)));
    expect(Object.keys(others).sort()).toEqual(['b', 'c']);
    // Those that are left out are better than nobody.
    expect(new Choice(all, all.slice(0, 1), '').next()).toBe(all[0]);
  });

  test('a new list keeps how an address fared', () => {
    const one = standing('a');
    fail(one, 4);
    one.pending = 3;
    const renewed = new Standing({ address: 'a', zone: '', weight: 10 }, one);
    expect(renewed.pending).toBe(3);
    expect(renewed.ended(true)).toBe(true);
  });
});
