/** Instances that are there and do not answer, and instances that are dead: out of the lists, in the right order. */
import { expect, test } from '@jest/globals';
import { Health } from '@nephos/directory';
import { startNatsServer } from '@nephos/events/testing';
import { newUid } from '@nephos/service';
import { clientOf, listed, reached, Stack } from './stack.ts';

/** No test sees it end: who leaves the lists before leaves them for silence. */
const longLeaseMs = 60_000;

for (const [how, hang] of [
  ['a stopped process', 'SIGSTOP'],
  ['a blocked event loop', 'SIGUSR2'],
] as const) {
  test(`${how} is out of the callers' lists long before its lease ends, and back when it is heard of`, async () => {
    await using stack = new Stack();
    const nats = stack.use(await startNatsServer());
    const directory = await stack.directory(nats.url);
    const caller = await stack.service('caller');
    const lasting = await stack.service('orchestrator', { leaseMs: longLeaseMs });
    const hung = await stack.child(await stack.folder(), longLeaseMs);
    const both = [lasting.id, hung.id].sort();
    await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);

    hung.signal(hang);
    expect(await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1)).toEqual([lasting.id]);
    const instance = await clientOf(caller, directory).getInstance({ name: `instances/${hung.id}` });
    expect(instance).toMatchObject({ silent: true, health: Health.SERVING });
    for (let calls = 0; calls < 20; calls += 1)
      expect(await reached(caller, 'orchestrator')).toBe(lasting.id);

    if (hang === 'SIGSTOP') hung.signal('SIGCONT');
    expect(await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2)).toEqual(both);
  });
}

test('silence is gone before a second has passed, and death before a lease that began later ends', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const killed = await stack.child(await stack.folder(), 1000);
  await stack.service('orchestrator');
  await stack.service('orchestrator');
  const client = clientOf(caller, directory);
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 3);
  const gone = new Map<string, number>();
  let looks = 0;
  await killed.kill();
  // Witnesses that never renew: their leases begin after the killed one was last heard of.
  const witness = async (seconds: bigint) => {
    const uid = newUid();
    const instance = { header: { uid }, service: 'witness', address: '127.0.0.1:9', health: Health.SERVING };
    await client.registerInstance({ instance: { ...instance, leaseTtl: { seconds, nanos: 0 } }, beat: 1n });
    return uid;
  };
  const second = await witness(1n);
  const later = await witness(2n);
  while (gone.size < 4) {
    looks += 1;
    const { instances } = await client.listInstances({ pageSize: 100 });
    const there = new Map(instances.map(({ header, silent }) => [header?.uid, silent]));
    const see = (what: string, left: boolean) => left && !gone.has(what) && gone.set(what, looks);
    see('out of the lists', there.get(killed.id) !== false);
    see('gone', !there.has(killed.id));
    see('a second', !there.has(second));
    see('two seconds', !there.has(later));
  }
  const order = [...gone].sort(([, one], [, other]) => one - other).map(([what]) => what);
  expect(order.indexOf('out of the lists')).toBeLessThan(order.indexOf('a second'));
  expect(order.indexOf('gone')).toBeLessThan(order.indexOf('two seconds'));
});

test('where most are silent the directory doubts itself and takes nobody out', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const client = clientOf(caller, directory);
  const uids = Array.from({ length: 6 }, newUid);
  for (const uid of uids) {
    const instance = { header: { uid }, service: 'quiet', address: '127.0.0.1:9', health: Health.SERVING };
    const timing = { leaseTtl: { seconds: 60n, nanos: 0 }, renewInterval: { seconds: 0n, nanos: 2e8 } };
    await client.registerInstance({ instance: { ...instance, ...timing }, beat: 1n });
  }
  const quiet = async () => (await client.listInstances({ filter: 'service = "quiet"' })).instances;
  // A service with a short lease comes and goes meanwhile: its end comes after any silence would have been noticed.
  const short = await stack.child(await stack.folder(), 1000);
  await short.kill();
  await listed(caller.handle, 'caller', (found) => found.length === 1);
  for (;;) {
    const { instances } = await client.listInstances({ filter: 'service = "orchestrator"' });
    if (instances.length === 0) break;
  }
  expect((await quiet()).map(({ silent }) => silent)).toEqual(uids.map(() => false));
});
