// What a relay tells after a while in which others went on: never the past behind the present.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import type { Store } from '@nephos/store';
import { readRange } from '../src/history.ts';
import { type Bus, connectBus, decodeEvent, startRelay, streams } from '../src/index.ts';
import { putInOrder } from '../src/subject-order.ts';
import { type NatsServer, startNatsServer } from '../src/testing.ts';
import { context, openGround, until, type Zones } from './harness.ts';

const dedupMs = 300;
let nats: NatsServer;
let bus: Bus;

beforeAll(async () => {
  nats = await startNatsServer();
  bus = await connectBus({ ...context, nats: nats.url, streams: { dedupMs } });
});

afterAll(async () => {
  await bus[Symbol.asyncDispose]();
  await nats.stop();
});

async function sequencesIn(stream: string, uid: string): Promise<number[]> {
  const sequences: number[] = [];
  const range = { stream, filter: `nephos.v1.*.*.zone.${uid}` };
  for await (const message of readRange(await bus.ready(), range)) {
    sequences.push(decodeEvent(message.subject, message.string()).sequence);
  }
  return sequences;
}

const change = (zones: Zones, id: string, description: string) =>
  zones.modify(id, (value) => ({ ...value, description }));

/** A store whose outbox forgets nothing until at last, as if its relay died between publish and clear. */
function unclearing(store: Store, atLast: Promise<void>): Store {
  const outbox = {
    pending: (options: Parameters<Store['outbox']['pending']>[0]) => store.outbox.pending(options),
    clear: () => atLast,
    clearAll: () => atLast,
    onPending: (listener: Parameters<Store['outbox']['onPending']>[0]) => store.outbox.onPending(listener),
    sweepTombstones: () => Promise.resolve(0),
  };
  return {
    outbox,
    exclusive: store.exclusive,
    failure: store.failure,
    collection: (definition) => store.collection(definition),
    ping: () => store.ping(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

test('events published by one that died before it cleared them are not told again after the window', async () => {
  await using ground = await openGround();
  const over = Promise.withResolvers<void>();
  await using dead = startRelay(context, { store: unclearing(ground.store, over.promise), bus });
  await ground.zones.insert('died', { owner: 'fence', description: '1' });
  for (const text of ['2', '3']) await change(ground.zones, 'died', text);
  await until('it told them', () => dead.metrics.published === 3);
  await systemClock.sleep(dedupMs * 2);
  await using relay = startRelay(context, { store: ground.store, bus });
  await change(ground.zones, 'died', '4');
  await relay.flush();
  expect(await sequencesIn(streams.events, 'died')).toEqual([1, 2, 3, 4]);
  expect(relay.metrics).toMatchObject({ takenBack: 0, failed: 0 });
  over.resolve();
});

test('a repeat that the broker took holds up the state of nobody', async () => {
  const { publisher } = await bus.ready();
  await using ground = await openGround();
  await using relay = startRelay(context, { store: ground.store, bus });
  await ground.zones.insert('again', { owner: 'fence', description: '1' });
  await relay.flush();
  const range = { stream: streams.events, filter: 'nephos.v1.fence._.zone.again' };
  const { value: first } = await readRange(await bus.ready(), range).next();
  await systemClock.sleep(dedupMs * 2);
  await publisher.publish(first?.subject ?? '', first?.string() ?? '', 'zone/again/1');
  await ground.zones.insert('behind', { owner: 'fence', description: '1' });
  await relay.flush();
  const start = systemClock.monotonic();
  await until('the state has it', async () => (await sequencesIn(streams.state, 'behind')).length === 1);
  expect(systemClock.monotonic() - start).toBeLessThan(30_000);
});

test('what came behind newer events is taken back, and the state is right again', async () => {
  const session = await bus.ready();
  await using ground = await openGround();
  await using relay = startRelay(context, { store: ground.store, bus });
  await ground.zones.insert('past', { owner: 'fence', description: '1' });
  for (const text of ['2', '3', '4']) await change(ground.zones, 'past', text);
  await relay.flush();
  const range = { stream: streams.events, filter: 'nephos.v1.fence._.zone.past' };
  const messages = [];
  for await (const message of readRange(session, range)) messages.push(message);
  for (const message of messages.slice(1, 3)) {
    await session.publisher.publish(message.subject, message.string(), `late/${message.seq}`);
  }
  await until('the state is old', async () => (await sequencesIn(streams.state, 'past'))[0] === 3);
  const entity = {
    tree: 'entities',
    address: { entity: 'zone', uid: 'past', owner: 'fence', zone: '' },
  } as const;
  const nothing = { place: 0, sequence: 0 };
  expect(await putInOrder(session, entity, nothing)).toBe(2);
  await until('the state is right', async () => (await sequencesIn(streams.state, 'past'))[0] === 4);
  // The newest was said once more, for the state's sake; that is in order.
  expect(await sequencesIn(streams.events, 'past')).toEqual([1, 2, 3, 4, 4]);
  expect(await putInOrder(session, entity, nothing)).toBe(0);
});

test('a store that was restored and counts from further back is told of all the same', async () => {
  await using before = await openGround();
  {
    await using relay = startRelay(context, { store: before.store, bus });
    await before.zones.insert('restored', { owner: 'fence', description: '1' });
    for (const text of ['2', '3', '4', '5']) await change(before.zones, 'restored', text);
    await relay.flush();
  }
  await using after = await openGround();
  await after.zones.insert('restored', { owner: 'fence', description: 'one' });
  await change(after.zones, 'restored', 'two');
  await systemClock.sleep(dedupMs * 2);
  await using relay = startRelay(context, { store: after.store, bus });
  await relay.flush();
  expect(await sequencesIn(streams.events, 'restored')).toEqual([1, 2, 3, 4, 5, 1, 2]);
});

test('while the broker is away the figures say what waits in the outbox, and for how long', async () => {
  await using ground = await openGround();
  await using away = await connectBus({ ...context, nats: 'nats://127.0.0.1:9' });
  const relay = startRelay(context, { store: ground.store, bus: away, pollMs: 20 });
  for (const id of ['a', 'b', 'c']) await ground.zones.insert(id, { owner: 'away', description: '' });
  await until('they are counted', () => relay.metrics.entitiesPending === 3 && relay.metrics.lagMs > 0);
  expect(relay.metrics).toMatchObject({ published: 0, inFlight: 0 });
  await relay[Symbol.asyncDispose]();
});
