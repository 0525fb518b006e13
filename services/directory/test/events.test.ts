/** What a plain subscriber sees of instances on the bus: every change, once each, in order, without a gap. */
import { expect, test } from '@jest/globals';
import { connectBus, decodeEvent, type EntityEvent, streams } from '@nephos/events';
import { startNatsServer } from '@nephos/events/testing';
import { systemClock } from '@nephos/service';
import { clientOf, listed, Stack } from './stack.ts';

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Reads the instance's events from the first on, until one of that verb. */
async function eventsUntil(nats: string, uid: string, verb: string): Promise<EntityEvent[]> {
  await using bus = await connectBus({ name: 'subscriber', nats, clock: systemClock, log: silent });
  const { js } = await bus.ready();
  const subject = `nephos.v1.*.*.instance.${uid}`;
  const consumer = await js.consumers.get(streams.events, { filter_subjects: subject });
  const seen: EntityEvent[] = [];
  for await (const message of await consumer.consume()) {
    const event = decodeEvent(message.subject, message.string());
    seen.push(event);
    if (event.verb === verb) break;
  }
  return seen;
}

test('registration, a change of health and the end are events without a gap', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const known = await listed(caller.handle, 'caller', (uids) => uids.length === 1);
  expect((await eventsUntil(nats.url, caller.id, 'created')).map(({ uid }) => uid)).toEqual(known);

  let healthy = true;
  const one = await stack.service('orchestrator', { healthy: () => healthy });
  await eventsUntil(nats.url, one.id, 'created');
  healthy = false;
  await eventsUntil(nats.url, one.id, 'updated');
  await clientOf(caller, directory).deregisterInstance({ name: `instances/${one.id}` });
  const events = await eventsUntil(nats.url, one.id, 'deleted');

  expect(events.map(({ verb, sequence }) => `${sequence} ${verb}`)).toEqual([
    '1 created',
    '2 updated',
    '3 deleted',
  ]);
  expect(events[1]?.changedPaths).toContain('health');
  expect(events[1]).toMatchObject({
    old: { health: 'HEALTH_SERVING' },
    new: { health: 'HEALTH_NOT_SERVING' },
  });
  expect(events[2]).toMatchObject({ source: '/nephos/directory', subject: `instances/${one.id}` });
});

test('an instance that registers again after its end goes on counting', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const one = await stack.service('orchestrator');
  await eventsUntil(nats.url, one.id, 'created');
  await clientOf(caller, directory).deregisterInstance({ name: `instances/${one.id}` });
  await eventsUntil(nats.url, one.id, 'deleted');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1);
  await one.stop();
  const again: EntityEvent[] = [];
  while (again.filter(({ verb }) => verb === 'deleted').length < 2) {
    again.splice(0, again.length, ...(await allEvents(nats.url, one.id)));
  }
  expect(again.map(({ sequence }) => sequence)).toEqual(again.map((_event, at) => at + 1));
  expect(again[2]?.verb).toBe('created');
});

test('a killed process, with the bus killed meanwhile, ends in one event', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  await stack.directory(nats.url);
  const child = await stack.child(await stack.folder());
  await eventsUntil(nats.url, child.id, 'created');
  await nats.kill();
  await child.kill();
  await nats.restart();
  const events = await eventsUntil(nats.url, child.id, 'deleted');
  expect(events.map(({ verb, sequence }) => `${sequence} ${verb}`)).toEqual(['1 created', '2 deleted']);
});

async function allEvents(nats: string, uid: string): Promise<EntityEvent[]> {
  await using bus = await connectBus({ name: 'subscriber', nats, clock: systemClock, log: silent });
  const { js } = await bus.ready();
  const consumer = await js.consumers.get(streams.events, {
    filter_subjects: `nephos.v1.*.*.instance.${uid}`,
  });
  const { num_pending: count } = await consumer.info();
  const seen: EntityEvent[] = [];
  for await (const message of await consumer.fetch({ max_messages: count, expires: 2000 })) {
    seen.push(decodeEvent(message.subject, message.string()));
  }
  return seen;
}
