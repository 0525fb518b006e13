// What once stood in the way of events for ever: too large ones, foreign messages, readers of what went away.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Dispatcher } from '../src/dispatcher.ts';
import type { Delivery } from '../src/entity-lane.ts';
import { readRange } from '../src/history.ts';
import {
  type Bus,
  deadLetterHeaders,
  decodeEvent,
  type EntityEvent,
  encodeEvent,
  eventId,
  type FollowItem,
  follow,
  startRelay,
  streams,
  subjectOf,
} from '../src/index.ts';
import { type NatsServer, startNatsServer } from '../src/testing.ts';
import { busAt, context, countersOf, nothingWrong, Oracle, openGround, until } from './harness.ts';

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

async function eventsOf(owner: string, stream: string = streams.events): Promise<EntityEvent[]> {
  const events: EntityEvent[] = [];
  for await (const message of readRange(await bus.ready(), { stream, filter: `nephos.v1.${owner}.*.*.*` })) {
    events.push(decodeEvent(message.subject, message.string()));
  }
  return events;
}

/** An event of entity `zone` as it travels. */
function encoded(owner: string, uid: string, seq: number) {
  const address = { entity: 'zone', uid, owner, zone: '' };
  const payload = {
    tree: 'entities' as const,
    address,
    verb: 'updated',
    source: '/nephos/test',
    name: `zones/${uid}`,
    schema: 'nephos.orchestration.v1.Zone',
    change: { new: { description: String(seq) }, changedPaths: ['description'] },
  };
  const body = encodeEvent(payload, { seq, firstSeq: seq, at: '2026-01-01T00:00:00Z' });
  return { subject: subjectOf('entities', address), body, id: eventId(address, seq) };
}

test('an event that the broker would never take says what it lacks, and the ones behind it come too', async () => {
  await using ground = await openGround();
  await using relay = startRelay(context, { store: ground.store, bus });
  const most = 1024 * 1024;
  await ground.zones.insert('one', { owner: 'large', description: 'a'.repeat(most * 0.7) });
  await ground.zones.modify('one', (value) => ({ ...value, description: 'b'.repeat(most * 0.7) }));
  await ground.zones.modify('one', (value) => ({ ...value, description: 'c'.repeat(most * 1.5) }));
  await ground.zones.modify('one', (value) => ({ ...value, description: 'small' }));
  await ground.zones.modify('one', (value) => ({ ...value, description: 'smaller' }));
  await relay.flush(AbortSignal.timeout(20_000));
  const events = await eventsOf('large');
  const seen = new Oracle();
  for (const event of events) seen.see(event);
  expect(seen.judge(await countersOf(ground.zones))).toEqual(nothingWrong);
  expect(events.some(({ omitted }) => omitted !== undefined)).toBe(true);
  expect(events.at(-1)).toMatchObject({ new: { description: 'smaller' }, changedPaths: expect.anything() });

  await ground.zones.modify('one', (value) => ({ ...value, description: 'd'.repeat(most * 1.5) }));
  await relay.flush(AbortSignal.timeout(20_000));
  const last = (await eventsOf('large')).at(-1);
  expect(last).toMatchObject({ verb: 'updated', omitted: ['old', 'new'] });
  expect(last?.changedPaths).toContain('description');
  expect(last).not.toHaveProperty('new');
});

test('one entity too large to be stated again does not keep the relay from all others', async () => {
  await using server = await startNatsServer();
  await using first = await busAt(server.url);
  await using ground = await openGround();
  {
    await using relay = startRelay(context, { store: ground.store, bus: first });
    await ground.zones.insert('large', { owner: 'again', description: 'a'.repeat(1_500_000) });
    await ground.zones.insert('plain', { owner: 'again', description: '' });
    await relay.flush(AbortSignal.timeout(20_000));
  }
  const { jsm } = await first.ready();
  await jsm.streams.delete(streams.events);
  await using second = await busAt(server.url);
  await using relay = startRelay(context, { store: ground.store, bus: second });
  await ground.zones.modify('plain', (value) => ({ ...value, description: 'later' }));
  await relay.flush(AbortSignal.timeout(20_000));
  const session = await second.ready();
  const verbs: string[] = [];
  for await (const message of readRange(session, { stream: streams.events, filter: '>' })) {
    const event = decodeEvent(message.subject, message.string());
    verbs.push(`${event.uid} ${event.sequence} ${event.omitted?.join() ?? ''}`);
  }
  expect(verbs).toContain('large 1 new');
  expect(verbs).toContain('plain 2 ');
});

test('a message that is no event stops no follower, neither in the snapshot nor after it', async () => {
  const { publisher } = await bus.ready();
  const publish = ({ subject, body, id }: ReturnType<typeof encoded>) => publisher.publish(subject, body, id);
  await publish(encoded('junk', 'a', 1));
  await publisher.publish('nephos.v1.junk._.zone.bad', 'no event', 'junk-1');
  await until('the state has both', async () => {
    const { jsm } = await bus.ready();
    const found = await jsm.direct.getMessage(streams.state, { last_by_subj: 'nephos.v1.junk._.zone.bad' });
    return found !== null;
  });
  const stop = new AbortController();
  const items: FollowItem[] = [];
  const following = (async () => {
    for await (const item of follow(bus, { filter: { owner: 'junk' }, signal: stop.signal })) {
      items.push(item);
      if (item.kind === 'change') stop.abort();
    }
  })();
  const late = setTimeout(() => stop.abort(), 10_000);
  await until('in step', () => stop.signal.aborted || items.some(({ kind }) => kind === 'synced'));
  await publisher.publish('nephos.v1.junk._.zone.bad', '{"also": "none"}', 'junk-2');
  await publish(encoded('junk', 'a', 2));
  await following;
  clearTimeout(late);
  expect(items.map((item) => ('event' in item ? `${item.kind} ${item.event.id}` : item.kind))).toEqual([
    'snapshot zone/a/1',
    'synced',
    'change zone/a/2',
  ]);
});

test('reading ends when others take away what was still to come, and leaves no consumer behind', async () => {
  const session = await bus.ready();
  const all = Array.from({ length: 700 }, (_, at) => encoded('purged', `p-${at}`, 1));
  await Promise.all(all.map(({ subject, body, id }) => session.publisher.publish(subject, body, id)));
  const before = (await session.jsm.streams.info(streams.events)).state.consumer_count;
  let read = 0;
  const range = { stream: streams.events, filter: 'nephos.v1.purged.>' };
  for await (const _ of readRange(session, range)) {
    if (read === 0) await session.jsm.streams.purge(streams.events, { filter: 'nephos.v1.purged.>' });
    read += 1;
  }
  expect(read).toBeLessThan(700);
  expect((await session.jsm.streams.info(streams.events)).state.consumer_count).toBe(before);
});

test('each of several events that were read beside the stream has a dead letter of its own', async () => {
  const session = await bus.ready();
  const events = [1, 2, 3, 4].map((seq) => encoded('gap', 'g', seq));
  const places: number[] = [];
  for (const { subject, body, id } of events) {
    places.push((await session.publisher.publish(subject, body, id)).streamSequence);
  }
  const deliveryOf = (at: number): Delivery => {
    const { subject = '', body = '' } = events[at] ?? {};
    const nothing = (): void => undefined;
    const event = decodeEvent(subject, body);
    return {
      event,
      body,
      natsSubject: subject,
      streamSequence: places[at] ?? 0,
      ack: nothing,
      working: nothing,
    };
  };
  const ended = new AbortController();
  const handle = async ({ sequence }: EntityEvent): Promise<void> => {
    if (sequence === 2 || sequence === 3) throw new Error('not this one');
  };
  const options = {
    name: 'beside',
    tree: 'entities',
    concurrency: 1,
    attempts: 1,
    backoffMs: 1,
    handle,
  } as const;
  const dispatcher = new Dispatcher(bus, options, ended.signal);
  dispatcher.receive(deliveryOf(0));
  await dispatcher.idle();
  dispatcher.receive(deliveryOf(3));
  await dispatcher.idle();
  ended.abort();
  const letters: string[] = [];
  const range = { stream: streams.deadLetters, filter: 'nephos-dead.v1.beside.>' };
  for await (const message of readRange(session, range)) {
    letters.push(`${message.headers?.get(deadLetterHeaders.subject)} ${message.json<{ id: string }>().id}`);
  }
  expect(letters).toEqual(['nephos.v1.gap._.zone.g zone/g/2', 'nephos.v1.gap._.zone.g zone/g/3']);
});

test('while the broker takes nothing, changes collapse in the outbox rather than pile up in memory', async () => {
  await using server = await startNatsServer();
  await using own = await busAt(server.url);
  await using ground = await openGround();
  await using relay = startRelay(context, { store: ground.store, bus: own });
  await ground.zones.insert('z', { owner: 'full', description: '' });
  await relay.flush();
  const { jsm } = await own.ready();
  await jsm.streams.update(streams.events, { discard: 'new', max_msgs: 1 });
  const others = Array.from({ length: 12 }, (_, at) => `other-${at}`);
  await Promise.all(others.map((id) => ground.zones.insert(id, { owner: 'full', description: '' })));
  await until('the broker refuses', () => relay.metrics.failed >= 12);
  for (let round = 0; round < 10; round += 1) {
    const changes = Array.from({ length: 60 }, (_, at) =>
      ground.zones.modify('z', (value) => ({ ...value, description: `${round}-${at}` })),
    );
    await Promise.all(changes);
  }
  await jsm.streams.update(streams.events, { discard: 'new', max_msgs: -1 });
  await relay.flush(AbortSignal.timeout(30_000));
  const seen = new Oracle();
  const session = await own.ready();
  for await (const message of readRange(session, { stream: streams.events, filter: '>' })) {
    seen.see(decodeEvent(message.subject, message.string()));
  }
  expect(seen.judge(await countersOf(ground.zones))).toEqual(nothingWrong);
  expect(seen.events).toBeLessThan(300);
});
