// Events on a cluster of three brokers under faults, a seed of each kind; `pnpm faults:events --cluster --seeds 40` by
// hand. And the control: with one copy of everything, a server that lost its disk is noticed.
import { expect, test } from '@jest/globals';
import { clusterLine, runClusterSeed, runControl } from './faults/events/cluster.ts';

const seeds = (process.env['NEPHOS_SEEDS'] ?? '0,2').split(',').map(Number);

test.each(seeds)(
  'seed %i: nothing is lost, doubled or disordered, nothing stated again, no write refused',
  async (seed) => {
    const report = await runClusterSeed(seed);
    expect(report.findings.events).toBeGreaterThan(500);
    expect(report.load?.writes).toBeGreaterThan(500);
    expect([clusterLine(report), ...report.problems]).toEqual([clusterLine(report)]);
  },
  300_000,
);

test('the control: one copy, and its server comes back with an empty disk', async () => {
  expect(await runControl(0)).not.toEqual([]);
}, 300_000);
