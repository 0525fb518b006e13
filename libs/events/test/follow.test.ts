// Snapshot, then follow: no event between the two is missed, none comes twice, over lost connections too.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type FollowItem, follow, startRelay, streams } from '../src/index.ts';
import { type NatsServer, startNatsServer } from '../src/testing.ts';
import {
  busAt,
  context,
  countersOf,
  nothingWrong,
  Oracle,
  openGround,
  until,
  type Zones,
} from './harness.ts';

let nats: NatsServer;

beforeAll(async () => {
  nats = await startNatsServer();
});

afterAll(() => nats.stop());

/** Follows into a list until it is stopped. */
async function collect(url: string, owner: string, stop: AbortSignal, items: FollowItem[]): Promise<void> {
  await using bus = await busAt(url);
  for await (const item of follow(bus, { filter: { owner }, signal: stop })) items.push(item);
}

async function change(zones: Zones, owner: string, rounds: number): Promise<void> {
  const ids = Array.from({ length: 20 }, (_, at) => `${owner}-${at}`);
  for (let round = 0; round < rounds; round += 1) {
    await Promise.all(
      ids.map((id) => zones.modify(id, (value) => ({ ...value, description: `${value.description}.` }))),
    );
  }
}

async function create(zones: Zones, owner: string): Promise<void> {
  for (let at = 0; at < 20; at += 1) await zones.insert(`${owner}-${at}`, { owner, description: '' });
}

/** Sequences after the snapshot's have to be dense; before it there are none. */
function judge(items: readonly FollowItem[], counters: ReadonlyMap<string, number>) {
  const oracle = new Oracle();
  for (const item of items) {
    if (item.kind === 'snapshot') oracle.see({ ...item.event, firstSequence: 1 });
    if (item.kind === 'change') oracle.see(item.event);
  }
  return oracle.judge(counters);
}

test('a snapshot taken while all changes is followed without a gap', async () => {
  await using ground = await openGround();
  await using bus = await busAt(nats.url);
  await using relay = startRelay(context, { store: ground.store, bus });
  await create(ground.zones, 'busy');
  await change(ground.zones, 'busy', 5);
  const changing = change(ground.zones, 'busy', 20);
  const stop = new AbortController();
  const views: FollowItem[][] = [[], [], []];
  const following = views.map((items) => collect(nats.url, 'busy', stop.signal, items));
  await changing;
  await change(ground.zones, 'busy', 5);
  await relay.flush();
  const counters = await countersOf(ground.zones);
  for (const items of views) {
    await until('all came', () => judge(items, counters).lost === 0);
    expect(judge(items, counters)).toEqual(nothingWrong);
    const synced = items.findIndex(({ kind }) => kind === 'synced');
    expect(items.slice(0, synced).every(({ kind }) => kind === 'snapshot')).toBe(true);
    expect(items.slice(synced + 1).every(({ kind }) => kind === 'change')).toBe(true);
  }
  stop.abort();
  await Promise.all(following);
});

test('it goes on after the broker was away, leaves out what is removed, and says when all begins anew', async () => {
  await using ground = await openGround();
  await using bus = await busAt(nats.url);
  await using relay = startRelay(context, { store: ground.store, bus });
  await create(ground.zones, 'away');
  await ground.zones.remove('away-19');
  await relay.flush();
  const { jsm } = await bus.ready();
  await until('the state has all', async () => {
    const last = await jsm.direct.getMessage(streams.state, {
      last_by_subj: 'nephos.v1.away._.zone.away-19',
    });
    return last?.json<{ sequence: string }>().sequence === '2';
  });
  const items: FollowItem[] = [];
  const stop = new AbortController();
  const following = collect(nats.url, 'away', stop.signal, items);
  await until('it is in step', () => items.some(({ kind }) => kind === 'synced'));
  expect(items.filter(({ kind }) => kind === 'snapshot')).toHaveLength(19);
  await nats.kill();
  await ground.zones.modify('away-0', (value) => ({ ...value, description: 'while away' }));
  await nats.restart();
  await until('the change came', () => items.some(({ kind }) => kind === 'change'));
  await ground.zones.remove('away-1');
  await until('the removal came', () =>
    items.some(
      (item) => item.kind === 'change' && item.event.verb === 'deleted' && item.event.old !== undefined,
    ),
  );
  expect(items).toHaveLength(22);

  await (await bus.ready()).jsm.streams.delete(streams.events);
  await ground.zones.modify('away-2', (value) => ({ ...value, description: 'in a new stream' }));
  await until('it began anew', () => items.filter(({ kind }) => kind === 'restart').length === 1);
  await until('it has all again', () => {
    const since = items.slice(items.findIndex(({ kind }) => kind === 'restart'));
    const uids = since.flatMap((item) => ('event' in item ? [item.event.uid] : []));
    const newest = since.some(
      (item) => 'event' in item && item.event.sequence === 2 && item.event.uid === 'away-2',
    );
    return new Set(uids).size === 18 && newest;
  });
  stop.abort();
  await following;
});

test('a follower that fell behind what is kept forgets what was removed meanwhile', async () => {
  await using ground = await openGround();
  await using bus = await busAt(nats.url);
  await using relay = startRelay(context, { store: ground.store, bus });
  await ground.zones.insert('stays', { owner: 'behind', description: '' });
  await ground.zones.insert('goes', { owner: 'behind', description: '' });
  await relay.flush();
  const session = await bus.ready();
  const lastOfState = async (id: string) => {
    const query = { last_by_subj: `nephos.v1.behind._.zone.${id}` };
    return await session.jsm.direct.getMessage(streams.state, query);
  };
  await until('the state has both', async () => (await lastOfState('goes')) !== null);
  const items: string[] = [];
  const stop = new AbortController();
  const following = (async () => {
    for await (const item of follow(bus, { filter: { owner: 'behind' }, signal: stop.signal })) {
      items.push('event' in item ? `${item.kind} ${item.event.uid}` : item.kind);
      if (item.kind !== 'synced' || items.length > 3) continue;
      // It hears of nothing until all of this has happened.
      await ground.zones.remove('goes');
      await relay.flush();
      await until(
        'the state has it',
        async () => (await lastOfState('goes'))?.header.has('Nephos-Removed') === true,
      );
      await session.jsm.streams.purge(streams.state, { filter: 'nephos.v1.behind._.zone.goes' });
      await session.jsm.streams.purge(streams.events);
      bus.renew(session);
    }
  })();
  const late = new Promise((resolve) => setTimeout(resolve, 15_000).unref());
  await Promise.race([late, until('it began anew', () => items.length >= 6)]);
  stop.abort();
  await following;
  expect(items.slice(3)).toEqual(['restart', 'snapshot stays', 'synced']);
});
