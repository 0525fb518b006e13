/** Work that one instance at a time does, through every way in which a holder may go. */
import { expect, test } from '@jest/globals';
import { Unavailable } from '@nephos/service';
import { Cluster, leaseMs } from './instances.ts';

interface Term {
  readonly owner: string;
  readonly epoch: number;
  readonly signal: AbortSignal;
  over: boolean;
}

/** Two instances that contend for one piece of work. */
async function contenders(cluster: Cluster) {
  const terms: Term[] = [];
  const [one, two] = [await cluster.instance('one'), await cluster.instance('two')];
  for (const instance of [one, two]) {
    instance.hold('sweeper', async ({ epoch, signal }) => {
      const term: Term = { owner: instance.owner, epoch, signal, over: false };
      terms.push(term);
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      term.over = true;
    });
    await cluster.pass(leaseMs / 40);
  }
  return { one, two, terms };
}

const seen = (terms: readonly Term[]) =>
  terms.map(({ owner, epoch, over }) => `${owner}@${epoch}${over ? ' over' : ''}`);

test('one instance works, however long it takes; the other takes over at once when it leaves', async () => {
  await using cluster = await Cluster.open();
  const { one, terms } = await contenders(cluster);
  await cluster.pass(5 * leaseMs);
  expect(seen(terms)).toEqual(['one@1']);
  await one.leave();
  await cluster.pass(leaseMs / 4);
  expect(seen(terms)).toEqual(['one@1 over', 'two@2']);
});

test('a killed holder is followed after a lease, not before', async () => {
  await using cluster = await Cluster.open();
  const { one, terms } = await contenders(cluster);
  await cluster.pass(leaseMs / 2);
  one.still = true;
  await cluster.pass(leaseMs * 0.7);
  expect(seen(terms)).toEqual(['one@1']);
  await cluster.pass(leaseMs * 0.6);
  expect(seen(terms)).toEqual(['one@1', 'two@2']);
});

test('a holder that cannot renew has stopped before another begins', async () => {
  await using cluster = await Cluster.open();
  const { one, terms } = await contenders(cluster);
  await cluster.pass(leaseMs / 8);
  // Its store answers no more: the renewals hang, its clock goes on.
  const hang = Promise.withResolvers<never>();
  one.hang = hang;
  const order: string[] = [];
  await cluster.pass(leaseMs, () => {
    if (terms[0]?.over === true && order.length === 0) order.push('one over');
    if (terms.length === 2 && order.length < 2) order.push('two began');
  });
  one.hang = undefined;
  hang.reject(new Unavailable('SERVICE_UNAVAILABLE', 'the store is back'));
  expect(order).toEqual(['one over', 'two began']);
});

test('a holder that stood still past its lease stops as soon as it goes on, and waits for its turn', async () => {
  await using cluster = await Cluster.open();
  const { one, two, terms } = await contenders(cluster);
  one.still = true;
  await cluster.pass(leaseMs * 1.5);
  expect(seen(terms)).toEqual(['one@1', 'two@2']);
  expect(terms[0]?.signal.aborted).toBe(false);
  one.still = false;
  one.clock.move(leaseMs * 1.5);
  expect(terms[0]?.signal.aborted).toBe(true);
  await cluster.pass(leaseMs * 3);
  expect(seen(terms)).toEqual(['one@1 over', 'two@2']);
  await two.leave();
  await cluster.pass(leaseMs / 4);
  expect(seen(terms)).toEqual(['one@1 over', 'two@2 over', 'one@3']);
});

test('work that fails gives the lease up', async () => {
  await using cluster = await Cluster.open();
  const one = await cluster.instance('one');
  one.hold('bridge', () => Promise.reject(new Error('the bridge is down')));
  await cluster.settle();
  expect(one.failures).toHaveLength(1);
  const two = await cluster.instance('two');
  const epochs: number[] = [];
  two.hold('bridge', ({ epoch }) => Promise.resolve(void epochs.push(epoch)));
  await cluster.settle();
  expect(epochs).toEqual([2]);
});

test('on an exclusive store what a dead process held is taken at once', async () => {
  await using cluster = await Cluster.open();
  const dead = await cluster.instance('dead', true);
  const epochs: number[] = [];
  const work = async ({ epoch, signal }: { epoch: number; signal: AbortSignal }): Promise<void> => {
    epochs.push(epoch);
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  };
  dead.hold('sweeper', work);
  await cluster.settle();
  dead.still = true;
  (await cluster.instance('next', true)).hold('sweeper', work);
  await cluster.settle();
  expect(epochs).toEqual([1, 2]);
});
