/** Directories as processes that are killed, and services that go on without any. */
import { expect, test } from '@jest/globals';
import { startNatsServer } from '@nephos/events/testing';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { listed, reached, Stack } from './stack.ts';

test('of two directories one is killed: watches and registrations move to the other', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const first = await stack.directoryProcess(nats.url);
  const second = await stack.directoryProcess(nats.url);
  const caller = await stack.service('caller');
  const one = await stack.service('orchestrator');
  for (const seeds of [first.address, second.address]) {
    const there = await stack.service('looker', { seeds });
    expect(await listed(there.handle, 'orchestrator', (uids) => uids.length > 0)).toEqual([one.id]);
    await listed(there.handle, 'directory', (uids) => uids.length === 2);
    await there.stop();
  }

  await first.kill();
  const two = await stack.service('orchestrator');
  const both = [one.id, two.id].sort();
  expect(await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2)).toEqual(both);
  await one.stop();
  expect(await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1)).toEqual([two.id]);
  await listed(caller.handle, 'directory', (uids) => uids.length === 1);

  await stack.directoryProcess(nats.url, { bind: first.address });
  await listed(caller.handle, 'directory', (uids) => uids.length === 2);
});

test('both directories and the bus killed: calls go on, and after their return they follow who moved', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const first = await stack.directoryProcess(nats.url);
  const second = await stack.directoryProcess(nats.url);
  const caller = await stack.service('caller');
  const moving = await stack.service('orchestrator');
  const staying = await stack.service('orchestrator');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);
  await Promise.all([nats.kill(), first.kill(), second.kill()]);

  const during = new Set<string>();
  for (let calls = 0; calls < 100; calls += 1) during.add(await reached(caller, 'orchestrator'));
  expect([...during].sort()).toEqual([moving.id, staying.id].sort());
  await moving.stop();
  const moved = await stack.service('orchestrator');
  for (let calls = 0; calls < 20; calls += 1) expect(await reached(caller, 'orchestrator')).toBe(staying.id);

  await nats.restart();
  await stack.directoryProcess(nats.url, { bind: first.address });
  await stack.directoryProcess(nats.url, { bind: second.address });
  const after = [staying.id, moved.id].sort();
  await listed(caller.handle, 'orchestrator', (uids) => uids.join() === after.join());
  await staying.stop();
  await listed(caller.handle, 'orchestrator', (uids) => uids.join() === moved.id);
  expect(await reached(caller, 'orchestrator')).toBe(moved.id);
});

test('before any directory was there calls fail with the reason, and work once one is', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const probe = await stack.directoryProcess(nats.url);
  await probe.kill();
  const caller = await stack.service('caller');
  const client = caller.context.clients.of(OperationsDefinition, 'orchestrator');
  const first = client.getOperation({ name: 'operations/who' });
  await expect(first).rejects.toMatchObject({
    reason: 'SERVICE_UNAVAILABLE',
    message: expect.stringContaining(`no directory answers at ${probe.address}`),
  });

  await stack.directoryProcess(nats.url, { bind: probe.address });
  // The directory knows of none yet: calls wait for one.
  const one = await stack.service('orchestrator');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1);
  expect(await reached(caller, 'orchestrator')).toBe(one.id);
});

test('a good-bye that nobody hears is not waited for', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directoryProcess(nats.url);
  const leaving = await stack.service('orchestrator', { leaseMs: 60_000 });
  const caller = await stack.service('caller');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1);
  await directory.kill();
  // A bound against waiting for a call's deadline, not a measure of speed.
  const order: string[] = [];
  const bound = new AbortController();
  const late = caller.context.clock.sleep(20_000, bound.signal).then(
    () => order.push('a call that waits for its deadline'),
    () => undefined,
  );
  await Promise.race([leaving.stop().then(() => order.push('stopped')), late]);
  bound.abort();
  expect(order).toEqual(['stopped']);
});
