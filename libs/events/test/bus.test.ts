// The connection's end: it waits for no broker, and what was made for one process goes with it.
import { expect, test } from '@jest/globals';
import { encodeEvent, eventId, streams, subjectOf, subscribe } from '../src/index.ts';
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

test('a subscription whose filter changed gets what the new filter means, not what the old one did', async () => {
  await using nats = await startNatsServer();
  await using bus = await busAt(nats.url);
  const publish = async (owner: string, seq: number): Promise<void> => {
    const address = { entity: 'zone', uid: 'z', owner, zone: '' };
    const change = { new: { description: '' }, changedPaths: [] };
    const words = { verb: 'updated', source: '/nephos/test', name: 'zones/z', schema: 'Zone' };
    const payload = { tree: 'entities' as const, address, ...words, change };
    const body = encodeEvent(payload, { seq, firstSeq: seq, at: '2026-01-01T00:00:00Z' });
    const { publisher } = await bus.ready();
    await publisher.publish(subjectOf('entities', address), body, `${owner}/${eventId(address, seq)}`);
  };
  const seen: string[] = [];
  const handler = async ({ owner, sequence }: { owner: string; sequence: number }): Promise<void> => {
    seen.push(`${owner} ${sequence}`);
  };
  {
    await using first = subscribe(bus, { name: 'moved', filter: { owner: 'old' } }, handler);
    await publish('old', 1);
    await until('the first came', () => first.counts.handled === 1);
  }
  await using second = subscribe(bus, { name: 'moved', filter: { owner: 'new' } }, handler);
  await second.started;
  await publish('old', 2);
  await publish('new', 1);
  const late = new Promise((resolve) => setTimeout(resolve, 10_000).unref());
  await Promise.race([late, until('one more came', () => seen.length > 1)]);
  expect(seen).toEqual(['old 1', 'new 1']);
});
