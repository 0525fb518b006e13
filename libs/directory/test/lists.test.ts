/** The last known list: in memory, on disk, and which of it a selector means. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { ListCache } from '../src/list-cache.ts';
import { ListFollower } from '../src/list-follower.ts';
import { matching, parseTarget, targetsOf } from '../src/selection.ts';
import { ServiceList } from '../src/service-list.ts';

function instance(uid: string, more: Parameters<typeof Instance.fromPartial>[0] = {}): Instance {
  const { header, ...rest } = more;
  return Instance.fromPartial({ address: `127.0.0.1:${uid.length}`, ...rest, header: { uid, ...header } });
}

const uids = (list: ServiceList) => list.instances?.map(({ header }) => header?.uid);

test('a list that had an instance never becomes empty', () => {
  const list = new ServiceList('a', []);
  expect(list.instances).toBeUndefined();
  list.offer([], true);
  expect(list.instances).toEqual([]);
  list.offer([instance('x')], true);
  list.offer([], true);
  expect(uids(list)).toEqual(['x']);
  list.offer([instance('y')], true);
  expect(uids(list)).toEqual(['y']);
});

test('a list that is not settled adds and changes, and removes nothing', () => {
  const list = new ServiceList('a', [instance('x'), instance('y')]);
  list.offer([instance('z'), instance('y', { address: '127.0.0.1:9' })], false);
  expect(uids(list)).toEqual(['x', 'y', 'z']);
  expect(list.instances?.[1]?.address).toBe('127.0.0.1:9');
});

test('only what callers can see counts as a change', () => {
  const list = new ServiceList('a', []);
  let changes = 0;
  using _subscription = list.onChange(() => {
    changes += 1;
  });
  list.offer([instance('x', { load: 0.1 })], true);
  list.offer([instance('x', { load: 0.9 })], true);
  expect(changes).toBe(1);
  list.offer([instance('x', { header: { labels: { a: '1' } } })], true);
  expect(changes).toBe(2);
});

test('changes apply to the version before their own, and to no other', () => {
  const follower = new ListFollower();
  const changes = (version: bigint, added: Instance[], removed: string[] = []) =>
    follower.take({ $case: 'changes', value: { version, added, changed: [], removed, settled: true } });
  const named = (uid: string) => instance(uid, { header: { name: `instances/${uid}` } });
  expect(() => changes(1n, [named('x')])).toThrow('came after version none');
  const list = { instances: [named('b')], settled: true, version: 4n };
  expect(follower.take({ $case: 'list', value: list })?.instances).toHaveLength(1);
  expect(changes(5n, [named('a'), named('c')])?.instances.map(({ header }) => header?.uid)).toEqual([
    'a',
    'b',
    'c',
  ]);
  expect(changes(6n, [], ['instances/b'])?.instances.map(({ header }) => header?.uid)).toEqual(['a', 'c']);
  expect(() => changes(8n, [])).toThrow('version 8 came after version 6');
  expect(follower.take({ $case: 'heartbeat', value: { interval: undefined } })).toBeUndefined();
});

test('lists survive on disk; a torn file is none', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-lists-'));
  const failures: unknown[] = [];
  const cache = new ListCache(folder, (error) => failures.push(error));
  for (let count = 1; count <= 50; count += 1) cache.keep('a', [instance('x', { weight: count })]);
  cache.keep('b', [instance('y', { leaseTtl: { seconds: 3n, nanos: 0 } })]);
  await cache.flush();
  expect(cache.read('a')).toMatchObject([{ weight: 50 }]);
  expect(cache.read('b')).toEqual([instance('y', { leaseTtl: { seconds: 3n, nanos: 0 } })]);
  expect((await readdir(folder)).sort()).toEqual(['a.json', 'b.json']);
  await writeFile(path.join(folder, 'a.json'), '[{"address": "127.');
  expect(cache.read('a')).toEqual([]);
  await writeFile(
    path.join(folder, 'a.json'),
    '[null, 7, {"address": "nowhere"}, {"address": "127.0.0.1:7"}]',
  );
  expect(cache.read('a')).toMatchObject([{ address: '127.0.0.1:7' }]);
  expect(failures).toEqual([]);
  await rm(folder, { recursive: true });
});

test('targets name a service and what to select by', () => {
  expect(parseTarget('host-agent?label.agent=abc&zone=zones%2F1')).toEqual({
    service: 'host-agent',
    selector: { zone: 'zones/1', labels: { agent: 'abc' } },
  });
  expect(() => parseTarget('host-agent?agent=abc')).toThrow('label.<key>');
  expect(() => parseTarget('Host Agent')).toThrow("not a service's name");
});

test('a selector means those that have all of it', () => {
  const one = instance('x', { version: '1', header: { labels: { a: '1', b: '2' } } });
  const two = instance('y', { version: '2', header: { labels: { a: '1' }, zone: 'zones/1' } });
  expect(matching([one, two], {})).toEqual([one, two]);
  expect(matching([one, two], { labels: { a: '1', b: '2' } })).toEqual([one]);
  expect(matching([one, two], { zone: 'zones/1', version: '2' })).toEqual([two]);
});

test('calls go to each address once, by its weight', () => {
  const light = instance('x', { address: 'a:1', weight: 50 });
  const usual = instance('y', { address: 'b:1' });
  expect(targetsOf([light, usual, { ...usual }])).toEqual([
    { address: 'a:1', zone: '', weight: 50 },
    { address: 'b:1', zone: '', weight: 100 },
  ]);
  expect(targetsOf([])).toEqual([]);
});
