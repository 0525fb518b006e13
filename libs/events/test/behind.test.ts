// A subscription that was killed with events in hand, which went from the stream while it was away.
import { expect, test } from '@jest/globals';
import { startRelay, streams, subscribe } from '../src/index.ts';
import { startNatsServer } from '../src/testing.ts';
import { busAt, context, countersOf, nothingWrong, Oracle, openGround, until } from './harness.ts';

test('what was in hand and is gone is brought up to date from the state as well', async () => {
  await using nats = await startNatsServer();
  await using ground = await openGround();
  await using bus = await busAt(nats.url);
  const mortal = await busAt(nats.url);
  await using relay = startRelay(context, { store: ground.store, bus });
  const hang = Promise.withResolvers<void>();
  const first = subscribe(mortal, { name: 'never' }, () => hang.promise);
  await first.started;
  await ground.zones.insert('one', { owner: 'acme', description: '1' });
  await relay.flush();
  await until('it is in hand', () => first.lag === 1);
  await (await mortal.ready()).connection.close();
  await mortal[Symbol.asyncDispose]();
  hang.resolve();
  await first[Symbol.asyncDispose]();
  for (const id of ['two', 'three']) {
    await ground.zones.insert(id, { owner: 'acme', description: '1' });
    await ground.zones.modify(id, (value) => ({ ...value, description: '2' }));
  }
  await relay.flush();
  const { jsm } = await bus.ready();
  await until('the state has all', async () => (await jsm.streams.info(streams.state)).state.messages === 3);
  await jsm.streams.update(streams.events, { max_msgs: 1 });
  await jsm.streams.update(streams.events, { max_msgs: -1 });
  const oracle = new Oracle();
  await using second = subscribe(bus, { name: 'never' }, async (event) => oracle.see(event));
  const counters = await countersOf(ground.zones);
  await until('all came', () => [...counters].every(([id, counter]) => oracle.last(id) === counter));
  expect(oracle.judge(counters)).toEqual(nothingWrong);
  expect(second.counts.deadLetters).toBe(0);
});
