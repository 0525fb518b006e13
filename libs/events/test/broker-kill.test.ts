// Under load the broker is killed and started again, again and again: nothing is lost, doubled or out of order.
import { expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import { readRange } from '../src/history.ts';
import { decodeEvent, startRelay, streams, subscribe } from '../src/index.ts';
import { startNatsServer } from '../src/testing.ts';
import { busAt, context, countersOf, nothingWrong, Oracle, openGround, until } from './harness.ts';

/** mulberry32: the same seed, the same run of choices. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const seeds = (process.env['NEPHOS_SEEDS'] ?? '1').split(',').map(Number);

test.each(seeds)('seed %i', async (seed) => {
  const random = seeded(seed);
  await using nats = await startNatsServer();
  await using ground = await openGround();
  await using publishing = await busAt(nats.url);
  await using listening = await busAt(nats.url);
  await using relay = startRelay(context, { store: ground.store, bus: publishing });
  const oracle = new Oracle();
  await using subscription = subscribe(listening, { name: 'oracle' }, async (event) => {
    if (random() < 0.01) throw new Error('a handler that fails now and then');
    oracle.see(event);
  });
  await subscription.started;

  const ids = Array.from({ length: 40 }, (_, at) => `e${at}`);
  for (const id of ids) await ground.zones.insert(id, { owner: 'acme', description: '' });
  let writing = true;
  const writers = ids.map(async (id) => {
    for (let count = 0; writing; count += 1) {
      await ground.zones.modify(id, (value) => ({ ...value, description: String(count) }));
      await systemClock.sleep(random() * 20);
    }
  });
  for (let round = 0; round < 4; round += 1) {
    await systemClock.sleep(300 + random() * 700);
    await nats.kill();
    await systemClock.sleep(random() * 400);
    await nats.restart();
  }
  await systemClock.sleep(300);
  writing = false;
  await Promise.all(writers);
  await relay.flush();
  const counters = await countersOf(ground.zones);
  await until('all came', () => ids.every((id) => oracle.last(id) === counters.get(id)));

  const written = [...counters.values()].reduce((sum, counter) => sum + counter, 0);
  expect(written).toBeGreaterThan(1_000);
  expect(oracle.judge(counters)).toEqual(nothingWrong);
  expect(subscription.counts).toMatchObject({ resynced: 0, deadLetters: 0 });

  // What the stream itself holds may repeat an event whose acknowledgement was lost, but never lacks one.
  const raw = new Oracle();
  const range = { stream: streams.events, filter: 'nephos.v1.>' };
  for await (const message of readRange(await listening.ready(), range)) {
    raw.see(decodeEvent(message.subject, message.string()));
  }
  expect(raw.judge(counters)).toMatchObject({ lost: 0, disordered: 0 });
});
