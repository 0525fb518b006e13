/** What goes on while the bus, the directory or both are away. */
import { expect, test } from '@jest/globals';
import { startNatsServer } from '@nephos/events/testing';
import { formatAddress } from '@nephos/service';
import { clientOf, listed, reached, Stack } from './stack.ts';

test('without the bus from the start, instances register and are found; the bus gets them later', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  await nats.kill();
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const one = await stack.service('orchestrator');
  expect(await reached(caller, 'orchestrator')).toBe(one.id);

  await nats.restart();
  stack.seeds = '';
  const other = await stack.directory(nats.url);
  expect(formatAddress(other.address)).not.toBe(formatAddress(directory.address));
  const there = await stack.service('caller-there', { seeds: formatAddress(other.address) });
  expect(await listed(there.handle, 'orchestrator', (uids) => uids.length > 0)).toEqual([one.id]);
});

test('while the bus is away instances come and go; nobody is taken out for being silent elsewhere', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const before = await stack.service('orchestrator');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1);

  await nats.kill();
  const meanwhile = await stack.service('orchestrator');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);
  await before.stop();
  expect(await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1)).toEqual([meanwhile.id]);

  await nats.restart();
  const other = await stack.directory(nats.url);
  const there = await stack.service('caller-there', { seeds: formatAddress(other.address) });
  await listed(there.handle, 'orchestrator', (uids) => uids.join() === meanwhile.id);
  const { instances } = await clientOf(there, directory).listInstances({
    filter: 'service = "orchestrator"',
  });
  expect(instances.map(({ header }) => header?.uid)).toEqual([meanwhile.id]);
});

test('a bus that lost everything is told all again', async () => {
  await using stack = new Stack();
  const first = stack.use(await startNatsServer());
  const port = Number(new URL(first.url).port);
  await stack.directory(first.url);
  const caller = await stack.service('caller');
  const one = await stack.service('orchestrator');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1);
  await first.stop();

  const empty = stack.use(await startNatsServer({ port, storeDir: await stack.folder() }));
  stack.seeds = '';
  const other = await stack.directory(empty.url);
  const there = await stack.service('caller-there', { seeds: formatAddress(other.address) });
  expect(await listed(there.handle, 'orchestrator', (uids) => uids.length > 0)).toEqual([one.id]);
});

test('two replicas agree, and either is enough', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const first = await stack.directory(nats.url);
  const second = await stack.directory(nats.url);
  const one = await stack.service('orchestrator', { seeds: formatAddress(first.address) });
  const there = await stack.service('caller', { seeds: formatAddress(second.address) });
  expect(await listed(there.handle, 'orchestrator', (uids) => uids.length > 0)).toEqual([one.id]);
  await listed(there.handle, 'directory', (uids) => uids.length === 2);
  await listed(one.handle, 'directory', (uids) => uids.length === 2);

  await first.stop();
  await listed(there.handle, 'directory', (uids) => uids.length === 1);
  const after = await stack.service('orchestrator', { seeds: formatAddress(second.address) });
  const both = [one.id, after.id].sort();
  await listed(there.handle, 'orchestrator', (uids) => uids.length === 2);
  expect(await listed(one.handle, 'orchestrator', (uids) => uids.length === 2)).toEqual(both);
});

test('calls go on without the directory, also from a process that starts meanwhile', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const data = await stack.folder();
  const one = await stack.service('orchestrator');
  const caller = await stack.service('caller', { data });
  expect(await reached(caller, 'orchestrator')).toBe(one.id);

  await nats.kill();
  await directory.stop();
  expect(await reached(caller, 'orchestrator')).toBe(one.id);
  await caller.stop();
  const again = await stack.service('caller', { data });
  expect(await reached(again, 'orchestrator')).toBe(one.id);
  expect((await again.handle.resolve('orchestrator')).map(({ header }) => header?.uid)).toEqual([one.id]);
});

test('a directory that starts anew without the bus takes nothing away from its callers', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const one = await stack.service('orchestrator');
  const two = await stack.service('orchestrator');
  const caller = await stack.service('caller');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);

  await nats.kill();
  await directory.stop();
  const anew = stack.directory(nats.url, { bind: formatAddress(directory.address) });
  const filter = 'service = "orchestrator"';
  const registered = async (): Promise<number> => {
    const { instances } = await clientOf(caller, await anew).listInstances({ filter });
    return instances.length;
  };
  const watching = new AbortController();
  const taken: number[] = [];
  const observed = (async () => {
    for await (const instances of caller.handle.watch('orchestrator')) {
      if (watching.signal.aborted) return;
      // One that is late for a renewal is left out too, on a starved machine: the directory then knows both.
      if (instances.length < 2) taken.push(await registered());
    }
  })();
  while ((await registered()) < 2) await caller.context.clock.sleep(50);
  watching.abort();
  await two.stop();
  expect(await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1)).toEqual([one.id]);
  await observed;
  expect(taken.every((count) => count === 2)).toBe(true);
});

test('calls move over when one of two instances dies or comes back elsewhere', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const data = await stack.folder();
  const lasting = await stack.service('orchestrator');
  const killed = await stack.child(data);
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);
  await killed.kill();
  for (let calls = 0; calls < 20; calls += 1) expect(await reached(caller, 'orchestrator')).toBe(lasting.id);
  const back = await stack.child(data);
  await listed(caller.handle, 'orchestrator', (uids) => uids.includes(back.id) && uids.length === 2);
  const seen = new Set<string>();
  while (seen.size < 2) seen.add(await reached(caller, 'orchestrator'));
  expect([...seen].sort()).toEqual([lasting.id, back.id].sort());
});
