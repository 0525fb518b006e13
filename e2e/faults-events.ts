/** Faults of events by hand: `pnpm faults:events --seeds 100 [--first 0]`. Exit code 0 only if nothing is wrong. */
import { parseArgs } from 'node:util';
import { lineOf, runSeed } from './faults/events/run.ts';

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '100' }, first: { type: 'string', default: '0' } },
});
const first = Number(values.first);
let [events, wrong] = [0, 0];
for (let seed = first; seed < first + Number(values.seeds); seed += 1) {
  const report = await runSeed(seed);
  events += report.findings.events;
  wrong += report.problems.length > 0 ? 1 : 0;
  process.stdout.write(`${lineOf(report)}\n`);
}
process.stdout.write(`${values.seeds} seeds, ${events} events, ${wrong} seeds with something wrong\n`);
process.exitCode = wrong === 0 ? 0 : 1;
