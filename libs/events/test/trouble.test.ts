// Handlers that fail, hang or are not alone: other entities go on, and somebody says so.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Dispatcher } from '../src/dispatcher.ts';
import { connectBus, type EventsLog, startRelay, streams, subscribe } from '../src/index.ts';
import { SubscriptionWatch } from '../src/subscription-watch.ts';
import { type NatsServer, startNatsServer } from '../src/testing.ts';
import { busAt, context, countersOf, nothingWrong, Oracle, openGround, until } from './harness.ts';

let nats: NatsServer;

beforeAll(async () => {
  nats = await startNatsServer();
});

afterAll(() => nats.stop());

/** Writes `count` events for each of `entities`, one entity after the other. */
async function write(
  zones: Awaited<ReturnType<typeof openGround>>['zones'],
  ids: readonly string[],
  count: number,
) {
  for (const id of ids) {
    await zones.insert(id, { owner: 'trouble', description: '1' });
    for (let at = 2; at <= count; at += 1) {
      await zones.modify(id, (value) => ({ ...value, description: String(at) }));
    }
  }
}

function heard(): { log: EventsLog; errors: string[] } {
  const errors: string[] = [];
  const nothing = (): void => undefined;
  const error = (_: object, message: string): void => void errors.push(message);
  return { log: { debug: nothing, info: nothing, warn: nothing, error }, errors };
}

test('poisoned entities with more events than there is room for hold up nobody, and come in order when they heal', async () => {
  await using ground = await openGround();
  await using bus = await busAt(nats.url);
  const poisoned = Array.from({ length: 30 }, (_, at) => `bad-${at}`);
  const sound = Array.from({ length: 20 }, (_, at) => `good-${at}`);
  await using relay = startRelay(context, { store: ground.store, bus });
  await write(ground.zones, poisoned, 60);
  await write(ground.zones, sound, 3);
  await relay.flush();
  const oracle = new Oracle();
  let healed = false;
  // Each failing event waits far longer for its next try than this test takes, as long as it fails.
  const options = { name: 'crowded', filter: { owner: 'trouble' }, concurrency: 4, backoffMs: 2_000 };
  await using subscription = subscribe(bus, options, async (event) => {
    if (!healed && event.uid.startsWith('bad')) throw new Error('not digestible');
    oracle.see(event);
  });
  const counters = await countersOf(ground.zones);
  await until('the others came', () => sound.every((id) => oracle.last(id) === counters.get(id)));
  expect(oracle.events).toBe(60);
  expect(subscription.counts).toMatchObject({ deadLetters: 0 });
  expect(subscription.lag).toBeGreaterThanOrEqual(30);
  healed = true;
  await until('all came', () => poisoned.every((id) => oracle.last(id) === counters.get(id)));
  expect(oracle.judge(counters)).toEqual(nothingWrong);
  const { jsm } = await bus.ready();
  await until('all is acknowledged', async () => {
    const info = await jsm.consumers.info(streams.events, 'crowded');
    return info.num_ack_pending === 0 && info.num_pending === 0;
  });
  expect(subscription.counts).toMatchObject({ handled: 1_860, deadLetters: 0, resynced: 0 });
});

test('a try that takes too long has failed: its signal aborts and the next one does not wait for it', async () => {
  await using ground = await openGround();
  await using bus = await busAt(nats.url);
  await using relay = startRelay(context, { store: ground.store, bus });
  await ground.zones.insert('slow', { owner: 'deadline', description: '' });
  await relay.flush();
  const attempts: number[] = [];
  let aborted = 0;
  const options = {
    name: 'deadline',
    filter: { owner: 'deadline' },
    timeoutMs: 50,
    backoffMs: 1,
    attempts: 4,
  };
  await using subscription = subscribe(bus, options, async (_, { attempt, signal }) => {
    attempts.push(attempt);
    signal.addEventListener('abort', () => (aborted += 1));
    if (attempt < 3) await new Promise<void>(() => undefined);
  });
  await until('it was handled', () => subscription.counts.handled === 1);
  expect(attempts).toEqual([1, 2, 3]);
  expect(aborted).toBe(2);
  expect(subscription.counts).toMatchObject({ retried: 2, deadLetters: 0 });
});

test('a subscription without progress says so and counts as stopped, until it gets on', async () => {
  await using ground = await openGround();
  const { log, errors } = heard();
  await using bus = await connectBus({ ...context, log, nats: nats.url });
  await using _relay = startRelay(context, { store: ground.store, bus });
  const hang = Promise.withResolvers<void>();
  const options = { name: 'hangs', filter: { owner: 'hangs' }, stallMs: 100 };
  await using subscription = subscribe(bus, options, () => hang.promise);
  await subscription.started;
  expect(() => subscription.check()).not.toThrow();
  await ground.zones.insert('hung', { owner: 'hangs', description: '' });
  await until('it counts as stopped', () => {
    try {
      subscription.check();
      return false;
    } catch (error) {
      return String(error).includes('no handler ended');
    }
  });
  expect(errors).toEqual(['the subscription has stopped']);
  expect(subscription.lag).toBe(1);
  hang.resolve();
  await until('it gets on', () => {
    try {
      subscription.check();
      return true;
    } catch {
      return false;
    }
  });
  expect(subscription.counts.handled).toBe(1);
});

test('a second process that reads under the same name is noticed', async () => {
  await using ground = await openGround();
  const { log, errors } = heard();
  await using bus = await connectBus({ ...context, log, nats: nats.url });
  await using other = await busAt(nats.url);
  await using _relay = startRelay(context, { store: ground.store, bus });
  const options = { name: 'double', filter: { owner: 'double' }, stallMs: 200 };
  await using first = subscribe(bus, options, async () => undefined);
  await first.started;
  await using second = subscribe(other, options, async () => undefined);
  await second.started;
  let at = 0;
  await until('it is noticed', async () => {
    await ground.zones.insert(`d-${at++}`, { owner: 'double', description: '' });
    return first.hasRivals;
  });
  expect(errors).toContain('another process reads this subscription: order is lost');
});

test('forgetting a position without a broker ends in time, and says that the position stays', async () => {
  await using bus = await busAt('nats://127.0.0.1:9');
  const subscription = subscribe(bus, { name: 'nowhere' }, async () => undefined);
  await expect(subscription.remove(50)).rejects.toThrow('the position of nowhere stays');
});

test('a subscription that gets nothing though something waits for it asks anew', async () => {
  await using bus = await busAt(nats.url);
  const { log, errors } = heard();
  const options = { name: 'deaf', tree: 'entities', concurrency: 1, attempts: 1, backoffMs: 1 } as const;
  const dispatcher = new Dispatcher(
    bus,
    { ...options, handle: async () => undefined },
    new AbortController().signal,
  );
  let [restarts, pending] = [0, 5];
  using watch = new SubscriptionWatch({
    ...{ name: 'deaf', clock: bus.clock, log, dispatcher, stallMs: 50 },
    look: async () => ({ pending, delivered: 0, received: () => 0 }),
    restart: () => void (restarts += 1),
  });
  await until('it asked anew', () => restarts > 0);
  expect(errors).toEqual(['the subscription has stopped']);
  expect(() => watch.check()).toThrow('5 events wait');
  pending = 0;
  await until('it gets on', () => watch.lag === 0);
  await until('it is well', () => {
    try {
      watch.check();
      return true;
    } catch {
      return false;
    }
  });
});
