// Events under faults, a seed of each kind; `pnpm faults:events --seeds 100` by hand. And the controls: an oracle
// that sees nothing wrong when something is wrong would prove nothing.
import { expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import { judge, readStream, staleOf, type Told } from './faults/events/oracle.ts';
import { lineOf, problemsOf, runSeed } from './faults/events/run.ts';
import { seeded } from './faults/events/seeded.ts';
import { relayStalled } from './faults/events/stalled.ts';
import { World } from './faults/events/world.ts';

const seeds = (process.env['NEPHOS_SEEDS'] ?? '0,1,2,3,4,5').split(',').map(Number);

test.each(seeds)(
  'seed %i: nothing is lost, doubled or disordered',
  async (seed) => {
    const report = await runSeed(seed);
    expect(report.findings.events).toBeGreaterThan(50);
    expect([lineOf(report), ...report.problems]).toEqual([lineOf(report)]);
  },
  120_000,
);

test('the control: relays whose clocks stand still tell the past behind the present', async () => {
  await using world = await World.make();
  const findings = await relayStalled(world, 1, seeded(1), 'frozen');
  expect(findings.stream.disordered).toBeGreaterThan(0);
  expect(problemsOf(findings)).not.toEqual([]);
}, 120_000);

test('the control: the oracle reports what is lost, doubled, disordered or stale', () => {
  const told = (sequence: number, first = sequence): Told => ({
    ...{ entity: 'e', first, sequence, description: String(sequence) },
  });
  const kept = new Map([['e', { counter: 5, description: '5' }]]);
  const right = [told(1), told(2), told(4, 3), told(5)];
  expect(judge(right, kept)).toEqual({ lost: 0, doubled: 0, disordered: 0 });
  expect(judge(right.toSpliced(1, 1), kept)).toEqual({ lost: 1, doubled: 0, disordered: 0 });
  expect(judge(right.toSpliced(2, 0, told(2)), kept)).toEqual({ lost: 0, doubled: 1, disordered: 0 });
  expect(judge([...right, told(2)], kept)).toEqual({ lost: 0, doubled: 0, disordered: 1 });
  expect(staleOf(right.slice(3), kept)).toEqual([]);
  expect(staleOf([told(4)], kept)).toEqual(['e: 4 instead of 5']);
  expect(staleOf([{ ...told(5), description: 'of before' }], kept)).toEqual(['e: 5 instead of 5']);
});

test('the control: what the world loses, doubles or disorders behind the back of the library is reported', async () => {
  await using world = await World.make();
  const { jsm, publisher } = await world.bus.ready();
  const subject = 'nephos.v1.acme._.zone.e0';
  const body = (sequence: number): string =>
    JSON.stringify({ type: 'dev.nephos.zone.v1.updated', sequence: String(sequence), data: { new: {} } });
  for (const sequence of [1, 2, 2, 4, 3]) {
    await publisher.publish(subject, body(sequence), `control/${systemClock.monotonic()}`);
  }
  await jsm.streams.deleteMessage('NEPHOS_EVENTS', 1);
  const kept = new Map([['e0', { counter: 4, description: '' }]]);
  const found = judge(await readStream(world.nats, 'NEPHOS_EVENTS'), kept);
  expect(found).toEqual({ lost: 1, doubled: 1, disordered: 1 });
}, 30_000);
