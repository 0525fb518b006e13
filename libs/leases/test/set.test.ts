/** A set of leases among instances that come, go, stand still and are killed. */
import { describe, expect, test } from '@jest/globals';
import { Cluster, leaseMs, names } from './instances.ts';

test('two instances end up with half each, also after one was restarted; one lease at a time is on its way', async () => {
  await using cluster = await Cluster.open();
  const one = await cluster.instance('1');
  one.share();
  await cluster.settle();
  expect(one.set.owned).toHaveLength(8);
  const two = await cluster.instance('2');
  two.share();
  let mostUnowned = 0;
  await cluster.pass(leaseMs, () => {
    mostUnowned = Math.max(mostUnowned, names.filter((name) => cluster.holders(name).length === 0).length);
  });
  expect([one.set.owned.length, two.set.owned.length, mostUnowned]).toEqual([4, 4, 1]);
  // A rolling restart: it leaves, its successor comes; the other keeps all meanwhile.
  await one.leave();
  await cluster.pass(leaseMs / 10);
  expect(two.set.owned).toHaveLength(8);
  const again = await cluster.instance('3');
  again.share();
  await cluster.pass(leaseMs);
  expect([two.set.owned.length, again.set.owned.length]).toEqual([4, 4]);
  const settled = [...two.taken, ...again.taken];
  await cluster.pass(5 * leaseMs);
  expect([...two.taken, ...again.taken]).toEqual(settled);
});

test('what does not divide goes to the first; all know who holds what', async () => {
  await using cluster = await Cluster.open();
  for (const owner of ['1', '2', '3']) (await cluster.instance(owner)).share();
  await cluster.pass(2 * leaseMs);
  expect(cluster.instances.map(({ set }) => set.owned.length)).toEqual([3, 3, 2]);
  for (const name of names) {
    const owners = cluster.instances.map(({ set }) => set.holderOf(name)?.owner);
    expect(new Set(owners)).toEqual(new Set(cluster.holders(name)));
  }
});

test('what a killed instance held is shared by the others after a lease', async () => {
  await using cluster = await Cluster.open();
  for (const owner of ['1', '2', '3']) (await cluster.instance(owner)).share();
  await cluster.pass(2 * leaseMs);
  const [killed, ...others] = cluster.instances;
  if (killed !== undefined) killed.still = true;
  await cluster.pass(leaseMs * 1.5);
  expect(others.map(({ set }) => set.owned.length)).toEqual([4, 4]);
});

test('who takes a lease is told whether all under it was put down', async () => {
  await using cluster = await Cluster.open();
  const one = await cluster.instance('1');
  one.share();
  await cluster.settle();
  expect(one.handed).toEqual(names);
  await one.leave();
  const two = await cluster.instance('2');
  two.share();
  await cluster.settle();
  expect(two.handed).toEqual(names);
  two.still = true;
  const three = await cluster.instance('3');
  three.share();
  await cluster.pass(leaseMs * 1.5);
  expect([three.set.owned.length, three.handed]).toEqual([8, []]);
  // What cannot be put down is not let go of: it runs out.
  three.putDown = () => Promise.reject(new Error('the store is away'));
  await three.leave();
  const four = await cluster.instance('4');
  four.share();
  await cluster.pass(leaseMs / 2);
  expect(four.set.owned).toEqual([]);
  await cluster.pass(leaseMs);
  expect([four.set.owned.length, four.handed]).toEqual([8, []]);
});

test('who leaves while one write fails and another is slow holds nothing in the end', async () => {
  await using cluster = await Cluster.open();
  const one = await cluster.instance('1');
  const slow = Promise.withResolvers<void>();
  one.delay = async (_verb, name) => {
    if (name === 'part-0') throw new Error('the store is away');
    if (name === 'part-1') await slow.promise;
  };
  const left = one.set.look().catch(() => one.set.leave());
  await cluster.settle();
  slow.resolve();
  await left;
  await cluster.settle();
  expect(one.set.owned).toEqual([]);
  const two = await cluster.instance('2');
  two.share();
  await cluster.pass(leaseMs / 10);
  expect(two.set.owned).toHaveLength(8);
});

/** mulberry32. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('at any moment a lease has one holder at most, and in the end one', () => {
  const seeds = Array.from({ length: 20 }, (_, at) => Number(process.env['NEPHOS_SEED'] ?? 1) + at);
  test.each(seeds)('seed %i', async (seed) => {
    const next = random(seed);
    await using cluster = await Cluster.open();
    let born = 0;
    const bear = async (): Promise<void> => (await cluster.instance(String((born += 1)))).share();
    const check = (): void => {
      for (const name of names) expect(cluster.holders(name).length).toBeLessThanOrEqual(1);
    };
    await bear();
    await bear();
    for (let act = 0; act < 6; act += 1) {
      const living = cluster.instances.filter(({ still, stop }) => !still && !stop.signal.aborted);
      const picked = living[Math.floor(next() * living.length)];
      const what = next();
      if (what < 0.35 || living.length < 2) await bear();
      else if (what < 0.6) await picked?.leave();
      else if (picked !== undefined) picked.still = true;
      const passing = leaseMs * next() * 1.5;
      await cluster.pass(passing, check);
      // It goes on where it stood, as after a SIGCONT, however long ago that was.
      if (what > 0.8 && picked?.still === true) {
        picked.still = false;
        picked.clock.elapsed += passing + leaseMs / 40;
        check();
      }
    }
    await cluster.pass(leaseMs * 3, check);
    for (const name of names) expect(cluster.holders(name)).toHaveLength(1);
    const epochs = cluster.instances.flatMap(({ taken }) => taken);
    expect(new Set(epochs).size).toBe(epochs.length);
  });
});
