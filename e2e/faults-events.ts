/**
 * Faults of events by hand: `pnpm faults:events --seeds 100 [--first 0] [--cluster]`; `--cluster`: of three brokers.
 * Exit code 0 only if nothing is wrong.
 */
import { parseArgs } from 'node:util';
import { clusterLine, runClusterSeed } from './faults/events/cluster.ts';
import { lineOf, runSeed } from './faults/events/run.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    first: { type: 'string', default: '0' },
    cluster: { type: 'boolean', default: false },
  },
});

async function run(seed: number) {
  if (!values.cluster) {
    const report = await runSeed(seed);
    return { ...report, line: lineOf(report) };
  }
  const report = await runClusterSeed(seed);
  return { ...report, line: clusterLine(report) };
}

const first = Number(values.first);
let [events, wrong] = [0, 0];
for (let seed = first; seed < first + Number(values.seeds); seed += 1) {
  const { line, findings, problems } = await run(seed);
  events += findings.events;
  wrong += problems.length > 0 ? 1 : 0;
  process.stdout.write(`${line}\n`);
}
process.stdout.write(`${values.seeds} seeds, ${events} events, ${wrong} seeds with something wrong\n`);
process.exitCode = wrong === 0 ? 0 : 1;
