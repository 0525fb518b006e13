// The relay against a real broker: everything pending gets there once and in order, whatever dies meanwhile.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type JsMsg } from '@nats-io/jetstream';
import { systemClock } from '@nephos/service';
import { openStore } from '@nephos/store';
import { readRange } from '../src/history.ts';
import { type Bus, decodeEvent, type EntityEvent, openEntity, startRelay, streams } from '../src/index.ts';
import { sweepState } from '../src/sweep.ts';
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
  zoneEntity,
} from './harness.ts';

let nats: NatsServer;
let bus: Bus;

beforeAll(async () => {
  nats = await startNatsServer();
  bus = await busAt(nats.url);
});

afterAll(async () => {
  await bus[Symbol.asyncDispose]();
  await nats.stop();
});

async function allIn(stream: string, owner: string): Promise<EntityEvent[]> {
  const messages: JsMsg[] = [];
  const range = { stream, filter: `nephos.v1.${owner}.*.*.*` };
  for await (const message of readRange(await bus.ready(), range)) messages.push(message);
  return messages.map((message) => decodeEvent(message.subject, message.string()));
}

async function fill(zones: Zones, owner: string, entities: number, changes: number): Promise<void> {
  const ids = Array.from({ length: entities }, (_, at) => `${owner}-${at}`);
  await Promise.all(
    ids.map(async (id) => {
      await zones.insert(id, { owner, description: '0' });
      for (let at = 1; at <= changes; at += 1) {
        await zones.modify(id, (value) => ({ ...value, description: String(at) }));
      }
    }),
  );
}

function judge(events: readonly EntityEvent[], counters: ReadonlyMap<string, number>) {
  const oracle = new Oracle();
  for (const event of events) oracle.see(event);
  return oracle.judge(counters);
}

describe('the relay', () => {
  test('publishes what is written, as CloudEvents, and leaves nothing pending', async () => {
    await using ground = await openGround();
    await using relay = startRelay(context, { store: ground.store, bus });
    await fill(ground.zones, 'plain', 50, 4);
    await ground.zones.remove('plain-0');
    await relay.flush();
    expect(await ground.store.outbox.pending({ limit: 1 })).toEqual([]);
    const events = await allIn(streams.events, 'plain');
    expect(events).toHaveLength(251);
    const counters = await countersOf(ground.zones);
    expect(judge(events, counters.set('plain-0', 6))).toEqual(nothingWrong);
    expect(events.find(({ uid, sequence }) => uid === 'plain-1' && sequence === 2)).toMatchObject({
      id: 'zone/plain-1/2',
      entity: 'zone',
      verb: 'updated',
      subject: 'zones/plain-1',
      owner: 'plain',
      new: { description: '1' },
      old: { description: '0' },
      changedPaths: ['description', 'header.etag'],
    });
  });

  test('takes up what was written before it started, and what collapsed while the broker was down', async () => {
    await using ground = await openGround();
    await using relay = startRelay(context, { store: ground.store, bus });
    await fill(ground.zones, 'down', 5, 3);
    await relay.flush();
    await nats.kill();
    await fill(ground.zones, 'down-b', 3, 200);
    const waiting = await ground.store.outbox.pending({ limit: 10 });
    expect(waiting.flatMap(({ events }) => events).length).toBeLessThan(3 * 64);
    expect(waiting[0]?.events[0]?.firstSeq).toBe(1);
    await nats.restart();
    await relay.flush();
    const counters = await countersOf(ground.zones);
    const events = [...(await allIn(streams.events, 'down')), ...(await allIn(streams.events, 'down-b'))];
    expect(judge(events, counters)).toEqual(nothingWrong);
    expect(events.some(({ firstSequence, sequence }) => firstSequence === 1 && sequence > 60)).toBe(true);
  });

  test('beside a second relay of the same outbox does no harm', async () => {
    await using ground = await openGround();
    await using one = startRelay(context, { store: ground.store, bus });
    await using two = startRelay(context, { store: ground.store, bus });
    await fill(ground.zones, 'pair', 50, 9);
    await Promise.all([one.flush(), two.flush()]);
    expect(one.metrics.published + two.metrics.published).toBeGreaterThan(500);
    expect(one.metrics.duplicates + two.metrics.duplicates).toBeGreaterThan(0);
    const events = await allIn(streams.events, 'pair');
    expect(events).toHaveLength(500);
    expect(judge(events, await countersOf(ground.zones))).toEqual(nothingWrong);
  });

  test('killed between publish and clear publishes again, and the broker keeps one', async () => {
    await using ground = await openGround();
    const url = `sqlite://${ground.folder}/child.db`;
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'relay-child.ts'), url, nats.url, '40'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const store = await openStore({ url, clock: systemClock });
    await openEntity(store, zoneEntity, { source: 'test', clock: systemClock });
    expect(await store.outbox.pending({ limit: 100 })).toHaveLength(40);
    {
      await using relay = startRelay(context, { store, bus });
      await relay.flush();
      expect(relay.metrics).toMatchObject({ published: 40, duplicates: 40 });
    }
    expect(await store.outbox.pending({ limit: 1 })).toEqual([]);
    expect(await allIn(streams.events, 'acme')).toHaveLength(40);
    await store[Symbol.asyncDispose]();
  });

  test('states every entity again when the broker lost its streams', async () => {
    await using ground = await openGround();
    await using other = await busAt(nats.url);
    {
      await using relay = startRelay(context, { store: ground.store, bus: other });
      await fill(ground.zones, 'lost', 20, 3);
      await relay.flush();
    }
    const { jsm } = await other.ready();
    await jsm.streams.delete(streams.events);
    await using again = await busAt(nats.url);
    await using relay = startRelay(context, { store: ground.store, bus: again });
    await ground.zones.modify('lost-0', (value) => ({ ...value, description: 'later' }));
    await relay.flush();
    const events = await allIn(streams.events, 'lost');
    expect(events.filter(({ verb }) => verb === 'restated')).toHaveLength(20);
    await until('the state is whole again', async () => {
      const state = await allIn(streams.state, 'lost');
      const newest = state.find(({ uid }) => uid === 'lost-0');
      return state.length === 20 && newest?.sequence === 5;
    });
    expect(judge(events, await countersOf(ground.zones)).lost).toBe(0);
    // Else the bus that all share finds the new streams out in the middle of a later test.
    bus.renew(await bus.ready());
    await bus.ready();
  });

  test('leaves the last state of each entity in the state stream, until what was removed is swept', async () => {
    await using ground = await openGround();
    await using relay = startRelay(context, { store: ground.store, bus });
    await fill(ground.zones, 'state', 3, 5);
    await ground.zones.remove('state-1');
    await relay.flush();
    const inState = () => allIn(streams.state, 'state');
    await until('the state stream has caught up', async () =>
      (await inState()).some(({ verb }) => verb === 'deleted'),
    );
    expect((await inState()).map(({ uid, sequence }) => `${uid}/${sequence}`).sort()).toEqual([
      'state-0/6',
      'state-1/7',
      'state-2/6',
    ]);
    expect(await sweepState(await bus.ready(), 60_000)).toBe(0);
    // As if the newest event were a minute later.
    expect(await sweepState(await bus.ready(), -60_000)).toBeGreaterThan(0);
    expect((await inState()).map(({ uid }) => uid).sort()).toEqual(['state-0', 'state-2']);
  });
});
