/** The inventory's API on a real store over real gRPC: names, references, etags, masks, filters, pages, repeats. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startNatsServer } from '@nephos/events/testing';
import { ClusterServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/cluster';
import { HostServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/host';
import { PodServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/pod';
import { ZoneServiceDefinition } from '@nephos/proto/nephos/orchestration/v1/zone';
import { formatAddress, newUid, startService } from '@nephos/service';
import { orchestrator } from '../src/service.ts';

const stack = new AsyncDisposableStack();
let clients: Awaited<ReturnType<typeof start>>;

async function start() {
  const data = await mkdtemp(join(tmpdir(), 'nephos-inventory-'));
  stack.defer(() => rm(data, { recursive: true }));
  const nats = await startNatsServer();
  stack.defer(() => nats.stop());
  const env = {
    NEPHOS_DATA: data,
    NEPHOS_NATS: nats.url,
    NEPHOS_LOG_LEVEL: 'silent',
    NEPHOS_DRAIN_DELAY: '0s',
  };
  const service = stack.use(await startService(orchestrator, { env }));
  const address = formatAddress(service.address);
  const { clients: pool } = service.context;
  return {
    zones: pool.of(ZoneServiceDefinition, address),
    pods: pool.of(PodServiceDefinition, address),
    clusters: pool.of(ClusterServiceDefinition, address),
    hosts: pool.of(HostServiceDefinition, address),
  };
}

beforeAll(async () => {
  clients = await start();
});
afterAll(() => stack.disposeAsync());

const header = (displayName: string, more: object = {}) => ({
  header: { displayName, owner: 'ops', ...more },
});

test('a zone, a pod, a cluster and a host are created within one another, and deleted from the inside out', async () => {
  const { zones, pods, clusters, hosts } = clients;
  const zone = await zones.createZone({ zone: { ...header('z-tree'), description: 'first' } });
  expect(zone.header?.zone).toBe(zone.header?.name);
  const inZone = { zone: zone.header?.name ?? '' };
  const pod = await pods.createPod({ pod: header('p', inZone) });
  const cluster = await clusters.createCluster({ cluster: { ...header('c'), pod: pod.header?.name ?? '' } });
  expect(cluster).toMatchObject({ cpuOvercommitRatio: 4, memoryOvercommitRatio: 1, header: inZone });
  const place = { cluster: cluster.header?.name ?? '', agentId: 'nobody', agentHost: 'h1' };
  const host = await hosts.createHost({ host: { ...header('h'), ...place } });
  expect(host.status).toMatchObject({ link: 1, admin: 1, health: 1 });
  await expect(hosts.createHost({ host: { ...header('h2'), ...place } })).rejects.toMatchObject({
    kind: 'already-exists',
    reason: 'RESOURCE_EXISTS',
  });
  await expect(zones.deleteZone({ name: zone.header?.name ?? '' })).rejects.toMatchObject({
    reason: 'RESOURCE_IN_USE',
  });
  await hosts.deleteHost({ name: host.header?.name ?? '' });
  await clusters.deleteCluster({ name: cluster.header?.name ?? '' });
  await pods.deletePod({ name: pod.header?.name ?? '' });
  await zones.deleteZone({ name: zone.header?.name ?? '' });
  await expect(zones.getZone({ name: zone.header?.name ?? '' })).rejects.toMatchObject({ kind: 'not-found' });
});

test('bad input is refused with its reason and leaves nothing', async () => {
  const { zones, pods } = clients;
  const before = await zones.listZones({});
  const refused = [
    [zones.createZone({}), 'FIELD_REQUIRED'],
    [zones.createZone({ zone: { header: { displayName: ' spaced ' } } }), 'FIELD_INVALID'],
    [zones.createZone({ zone: { ...header('long'), description: 'x'.repeat(2000) } }), 'FIELD_INVALID'],
    [pods.createPod({ pod: header('p', { zone: `zones/${newUid()}` }) }), 'RESOURCE_NOT_FOUND'],
    [pods.createPod({ pod: header('p', { zone: 'nonsense' }) }), 'FIELD_INVALID'],
    [zones.listZones({ filter: 'colour = "red"' }), 'FILTER_INVALID'],
    [zones.listZones({ pageToken: 'forged' }), 'PAGE_TOKEN_INVALID'],
    [zones.listZones({ pageSize: -1 }), 'FIELD_INVALID'],
  ] as const;
  for (const [call, reason] of refused) await expect(call).rejects.toMatchObject({ reason });
  expect((await zones.listZones({})).zones).toEqual(before.zones);
});

test('updates obey the mask and the etag', async () => {
  const { zones } = clients;
  const zone = await zones.createZone({ zone: header('z-update') });
  const name = zone.header?.name ?? '';
  const changed = await zones.updateZone({
    zone: { header: { name }, description: 'new' },
    updateMask: ['description'],
  });
  expect(changed).toMatchObject({ description: 'new', header: { displayName: 'z-update' } });
  expect(changed.header?.etag).not.toBe(zone.header?.etag);
  const stale = { header: { name, etag: zone.header?.etag ?? '' }, description: 'lost' };
  await expect(zones.updateZone({ zone: stale, updateMask: ['description'] })).rejects.toMatchObject({
    kind: 'conflict',
    reason: 'ETAG_MISMATCH',
  });
  await expect(
    zones.updateZone({ zone: { header: { name } }, updateMask: ['header.owner'] }),
  ).rejects.toMatchObject({
    reason: 'UPDATE_MASK_INVALID',
  });
});

test('the same request id gives one zone, however often; another body is refused', async () => {
  const { zones } = clients;
  const requestId = newUid();
  const create = () => zones.createZone({ zone: header('z-once') }, { requestId });
  const made = await Promise.all(Array.from({ length: 50 }, create));
  expect(new Set(made.map(({ header: h }) => h?.name)).size).toBe(1);
  await expect(zones.createZone({ zone: header('z-other') }, { requestId })).rejects.toMatchObject({
    reason: 'REQUEST_ID_REUSED',
  });
  await expect(zones.createZone({ zone: header('z-once') })).rejects.toMatchObject({
    reason: 'DISPLAY_NAME_TAKEN',
  });
});

test('lists are filtered and paged, newest first, each match once', async () => {
  const { zones } = clients;
  for (let index = 0; index < 25; index += 1) {
    const labels = { parity: index % 2 === 0 ? 'even' : 'odd' };
    await zones.createZone({ zone: header(`z-page-${index}`, { labels, owner: 'pager' }) });
  }
  const seen: string[] = [];
  let pageToken = '';
  do {
    const page = await zones.listZones({
      filter: 'owner = "pager" AND labels.parity = "even"',
      pageSize: 5,
      pageToken,
    });
    expect(page.zones.length).toBeLessThanOrEqual(5);
    seen.push(...page.zones.map((zone) => zone.header?.displayName ?? ''));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  expect(seen).toEqual(Array.from({ length: 13 }, (_, index) => `z-page-${24 - 2 * index}`));
});

test("changes that come at once are all made: without an etag, another writer is not the caller's business", async () => {
  const { zones } = clients;
  const zone = await zones.createZone({ zone: header('z-busy') });
  const name = zone.header?.name ?? '';
  const update = (n: number) =>
    zones.updateZone({ zone: { header: { name }, description: `${n}` }, updateMask: ['description'] });
  await Promise.all(Array.from({ length: 8 }, (_, n) => update(n)));
  expect((await zones.getZone({ name })).description).toMatch(/^[0-7]$/);
});

test('of two hosts of one name one is made; deleted by two at once it goes, and who comes too late is told', async () => {
  const { zones, pods, clusters, hosts } = clients;
  const zone = await zones.createZone({ zone: header('z-hosts') });
  const pod = await pods.createPod({ pod: header('p', { zone: zone.header?.name ?? '' }) });
  const cluster = await clusters.createCluster({ cluster: { ...header('c'), pod: pod.header?.name ?? '' } });
  const place = { cluster: cluster.header?.name ?? '', agentId: 'nobody' };
  const create = (agentHost: string) =>
    hosts.createHost({ host: { ...header('same'), ...place, agentHost } });
  const results = await Promise.allSettled([create('one'), create('two')]);
  const made = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  expect(made).toHaveLength(1);
  const name = made[0]?.header?.name ?? '';
  const deletions = await Promise.allSettled([hosts.deleteHost({ name }), hosts.deleteHost({ name })]);
  // Both may have been accepted while it was there; one that was not finds nothing.
  const refused = deletions.flatMap((deletion) => (deletion.status === 'rejected' ? [deletion.reason] : []));
  expect(refused.length).toBeLessThan(2);
  for (const refusal of refused) expect(refusal).toMatchObject({ kind: 'not-found' });
  await expect(hosts.getHost({ name })).rejects.toMatchObject({ kind: 'not-found' });
  await clusters.deleteCluster({ name: cluster.header?.name ?? '' });
});
