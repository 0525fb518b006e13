/** Who calls whom, and the directory's own figures: told without being events. */
import { expect, test } from '@jest/globals';
import { openIssuer } from '@nephos/directory/identity';
import { startNatsServer } from '@nephos/events/testing';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { systemClock } from '@nephos/service';
import { freePort } from '@nephos/service/testing';
import { clientOf, listed, reached, Stack } from './stack.ts';

test('an instance tells whom it called and how that went; its etag and its list stay as they are', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  await stack.service('orchestrator');
  await listed(caller.handle, 'caller', (uids) => uids.length === 1);
  const name = `instances/${caller.id}`;
  const before = await clientOf(caller, directory).getInstance({ name });
  for (let calls = 0; calls < 7; calls += 1) await reached(caller, 'orchestrator');
  const client = caller.context.clients.of(OperationsDefinition, 'orchestrator');
  await expect(client.deleteOperation({ name: 'x' })).rejects.toMatchObject({ kind: 'internal' });
  for (;;) {
    const { callees, header } = await clientOf(caller, directory).getInstance({ name });
    const counted = callees.find(({ service }) => service === 'orchestrator');
    if (counted?.calls !== 8n) continue;
    expect(counted).toMatchObject({ failures: 1n, since: expect.any(Date) });
    expect(header?.etag).toBe(before.header?.etag);
    break;
  }
  // Through another replica as well: the record carries it.
  const other = await stack.directory(nats.url);
  const calleesThere = async () => (await clientOf(caller, other).getInstance({ name })).callees;
  while (!(await calleesThere().catch(() => [])).some(({ calls }) => calls === 8n))
    await systemClock.sleep(20);
});

test('instances by health, watchers, renewals and refusals are figures', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const issuer = await openIssuer(await stack.folder());
  const metrics = `127.0.0.1:${await freePort()}`;
  const directory = await stack.directory(nats.url, { trust: issuer.trust, metrics });
  const issued = { issuedAt: systemClock.now(), lifetimeMs: 3_600_000 };
  const identity = await issuer.write({ service: 'caller', ...issued });
  const caller = await stack.service('caller', { identity });
  await listed(caller.handle, 'caller', (uids) => uids.length === 1);
  const refused = clientOf(caller, directory).deregisterInstance({ name: `instances/${caller.id}` });
  await expect(refused).rejects.toMatchObject({ reason: 'IDENTITY_UNKNOWN' });
  const wanted = [
    /nephos_directory_instances\{.*service="caller",health="serving".*\} 1/,
    /nephos_directory_instances\{.*service="directory",health="serving".*\} 1/,
    /nephos_directory_watchers(\{.*\})? [1-9]/,
    /nephos_directory_renewals_total(\{.*\})? [1-9]/,
    /nephos_directory_refusals_total\{.*call="deregister",reason="IDENTITY_UNKNOWN".*\} 1/,
  ];
  for (;;) {
    const text = await (await fetch(`http://${metrics}/metrics`)).text();
    if (wanted.every((line) => line.test(text))) break;
    await systemClock.sleep(50);
  }
});
