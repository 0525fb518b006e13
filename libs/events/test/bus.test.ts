// The connection's end: it waits for no broker, and what was made for one process goes with it.
import { expect, test } from '@jest/globals';
import { streams, subscribe } from '../src/index.ts';
import { startNatsServer } from '../src/testing.ts';
import { busAt, until } from './harness.ts';

test('the bus closes and a subscription stops though the broker is away', async () => {
  await using nats = await startNatsServer();
  const bus = await busAt(nats.url);
  const subscription = subscribe(bus, { name: 'left' }, async () => undefined);
  await subscription.started;
  await nats.kill();
  await until('it is noticed', () => bus.session === undefined);
  const ended = (async () => {
    await subscription[Symbol.asyncDispose]();
    await bus[Symbol.asyncDispose]();
    return 'ended';
  })();
  const late = new Promise((resolve) => setTimeout(() => resolve('still waiting'), 15_000).unref());
  expect(await Promise.race([ended, late])).toBe('ended');
});

test('a subscription that was to be forgotten leaves no consumer behind when its process is killed', async () => {
  await using nats = await startNatsServer();
  await using bus = await busAt(nats.url);
  const killed = await busAt(nats.url);
  const options = { name: 'tail', forgetAfterMs: 1_000 };
  const subscription = subscribe(killed, options, async () => undefined);
  await subscription.started;
  const { jsm } = await bus.ready();
  const consumers = async () => (await jsm.streams.info(streams.events)).state.consumer_count;
  expect(await consumers()).toBe(1);
  // As a kill would: nothing is told to the broker.
  await (await killed.ready()).connection.close();
  await killed[Symbol.asyncDispose]();
  await until('the broker forgot it', async () => (await consumers()) === 0);
  await subscription[Symbol.asyncDispose]();
});
