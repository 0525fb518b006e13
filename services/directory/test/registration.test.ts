/** Instances come, change and go; whoever watches is told, and events tell the rest. */
import { expect, test } from '@jest/globals';
import { Health } from '@nephos/directory';
import { connectBus, follow, removedHeader, streams } from '@nephos/events';
import { startNatsServer } from '@nephos/events/testing';
import { formatAddress, newUid, systemClock } from '@nephos/service';
import { clientOf, listed, reached, Stack } from './stack.ts';

/** So long that no test sees it end. */
const longLeaseMs = 60_000;

test('an instance is listed while it serves, and gone when it has stopped', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const one = await stack.service('orchestrator', { labels: { tier: 'a' }, leaseMs: longLeaseMs });
  const two = await stack.service('orchestrator', { labels: { tier: 'b' } });

  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);
  await listed(caller.handle, 'orchestrator', (uids) => uids.join() === two.id, { labels: { tier: 'b' } });
  expect(await reached(caller, 'orchestrator', { tier: 'a' })).toBe(one.id);
  expect(await reached(caller, 'orchestrator', { tier: 'b' })).toBe(two.id);

  const instance = await clientOf(caller, directory).getInstance({ name: `instances/${one.id}` });
  expect(instance).toMatchObject({
    service: 'orchestrator',
    version: '1.0.0',
    address: formatAddress(one.address),
    grpcServices: ['google.longrunning.Operations'],
    health: Health.SERVING,
    process: { pid: process.pid },
  });

  await one.stop();
  expect(await listed(caller.handle, 'orchestrator', (uids) => !uids.includes(one.id))).toEqual([two.id]);
});

test('an instance that is unhealthy leaves the list, and comes back when it is well', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  let healthy = true;
  const one = await stack.service('orchestrator', { leaseMs: longLeaseMs, healthy: () => healthy });
  const two = await stack.service('orchestrator', { leaseMs: longLeaseMs });
  const both = [one.id, two.id].sort();
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);

  healthy = false;
  expect(await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1)).toEqual([two.id]);
  const sick = await clientOf(caller, directory).listInstances({ filter: 'health = "NOT_SERVING"' });
  expect(sick.instances.map(({ header }) => header?.uid)).toEqual([one.id]);

  healthy = true;
  expect(await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2)).toEqual(both);
});

test('labels that change reach those who select by them', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const agent = await stack.service('host-agent', { leaseMs: longLeaseMs });
  agent.handle.setLabels({ agent: 'abc' });
  const found = await listed(caller.handle, 'host-agent', (uids) => uids.length === 1, {
    labels: { agent: 'abc' },
  });
  expect(found).toEqual([agent.id]);
  expect(await reached(caller, 'host-agent', { agent: 'abc' })).toBe(agent.id);
});

test('a killed process is gone when its lease has ended', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const lasting = await stack.service('orchestrator');
  const child = await stack.child(await stack.folder());
  await listed(caller.handle, 'orchestrator', (uids) => uids.includes(child.id));
  await child.kill();
  expect(await listed(caller.handle, 'orchestrator', (uids) => !uids.includes(child.id))).toEqual([
    lasting.id,
  ]);
});

test('a service that was killed and started again takes its place at once', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const data = await stack.folder();
  const killed = await stack.child(data, longLeaseMs);
  expect(await reached(caller, 'orchestrator')).toBe(killed.id);
  await killed.kill();
  const next = await stack.child(data, longLeaseMs);
  expect(await listed(caller.handle, 'orchestrator', (uids) => uids.includes(next.id))).toContain(next.id);
  expect(await listed(caller.handle, 'orchestrator', (uids) => !uids.includes(killed.id))).toEqual([next.id]);
  expect(await reached(caller, 'orchestrator')).toBe(next.id);
});

test('an instance that the directory forgot registers again, under the same uid', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const one = await stack.service('orchestrator');
  const two = await stack.service('orchestrator');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);
  await clientOf(caller, directory).deregisterInstance({ name: `instances/${one.id}` });
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1);
  const again = await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2);
  expect(again).toEqual([one.id, two.id].sort());
});

test('wrong calls get a reason and leave nothing', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const client = clientOf(caller, directory);
  const uid = newUid();
  const refused = client.registerInstance({
    instance: { header: { uid }, service: 'Not A Name', address: 'nowhere', health: Health.SERVING },
    beat: 1n,
  });
  await expect(refused).rejects.toMatchObject({
    reason: 'FIELD_INVALID',
    details: { fields: [{ field: 'instance.service' }, { field: 'instance.address' }] },
  });
  const name = `instances/${uid}`;
  await expect(client.getInstance({ name })).rejects.toMatchObject({ reason: 'RESOURCE_NOT_FOUND' });
  const renewal = client.renewInstance({ name, beat: 2n, health: Health.SERVING });
  await expect(renewal).rejects.toMatchObject({ reason: 'RESOURCE_NOT_FOUND' });
  await expect(client.listInstances({ filter: 'pid = 1' })).rejects.toMatchObject({
    reason: 'FILTER_INVALID',
  });
  const page = client.listInstances({ pageToken: 'x' });
  await expect(page).rejects.toMatchObject({ reason: 'PAGE_TOKEN_INVALID' });
});

test('pages go through all instances once', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const client = clientOf(caller, directory);
  const uids = Array.from({ length: 7 }, newUid).sort();
  for (const uid of uids) {
    const instance = { header: { uid }, service: 'paged', address: '127.0.0.1:9', health: Health.DRAINING };
    await client.registerInstance({ instance, beat: 1n });
  }
  const seen: (string | undefined)[] = [];
  const query = { filter: 'service = "paged" AND health = "DRAINING"', pageSize: 3 };
  for (let pageToken = '', first = true; first || pageToken !== ''; first = false) {
    const page = await client.listInstances({ ...query, pageToken });
    seen.push(...page.instances.map(({ header }) => header?.uid));
    pageToken = page.nextPageToken;
  }
  expect(seen).toEqual(uids);
});

test('a lease of odd nanoseconds does not make every list fail', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const client = clientOf(await stack.service('caller'), directory);
  const uid = newUid();
  const instance = { header: { uid }, service: 'odd', address: '127.0.0.1:1', health: Health.SERVING };
  await client.registerInstance({
    instance: { ...instance, leaseTtl: { seconds: 30n, nanos: 1 } },
    beat: 1n,
  });
  const { instances } = await client.listInstances({ filter: 'service = "odd"' });
  expect(instances).toMatchObject([{ leaseTtl: { seconds: 30n, nanos: 0 } }]);
});

test('an instance larger than the bus takes is refused, rather than keeping every lease from ending', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const client = clientOf(await stack.service('caller'), directory);
  const instance = { service: 'large', address: '127.0.0.1:1', health: Health.SERVING };
  const grpcServices = Array.from({ length: 8000 }, (_, at) => `${'x'.repeat(200)}${at}`);
  const large = client.registerInstance({
    instance: { ...instance, header: { uid: newUid() }, grpcServices },
    beat: 1n,
  });
  await expect(large).rejects.toThrow('grpc_services');
  const most = {
    header: { uid: newUid(), displayName: 'n'.repeat(63) },
    grpcServices: Array.from({ length: 256 }, (_, at) => `${'x'.repeat(250)}${at}`),
  };
  await client.registerInstance({ instance: { ...instance, ...most }, beat: 1n });
});

test('what is removed bears the mark by which followers leave it out and sweepers find it', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const one = await stack.service('orchestrator', { leaseMs: longLeaseMs });
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1);
  await clientOf(caller, directory).getInstance({ name: `instances/${one.id}` });
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  await using bus = await connectBus({ name: 'follower', nats: nats.url, clock: systemClock, log });
  const { jsm } = await bus.ready();
  const last = () =>
    jsm.direct.getMessage(streams.state, { last_by_subj: `nephos.v1._._.instance.${one.id}` });
  await one.stop();
  let message = await last();
  while (message?.json<{ type: string }>().type !== 'dev.nephos.instance.v1.deleted') {
    await systemClock.sleep(20);
    message = await last();
  }
  const stop = new AbortController();
  const filter = { entity: 'instance' };
  for await (const item of follow(bus, { filter, signal: stop.signal })) {
    if (item.kind === 'snapshot') expect(item.event.uid).not.toBe(one.id);
    if (item.kind === 'synced') stop.abort();
  }
  // Others may still run an earlier version of this service's readers, which compare the value.
  expect(message.header.get(removedHeader)).toBe('1');
});
