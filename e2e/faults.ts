/** The fault matrix by hand: `pnpm faults --seeds 200 [--first 0]`. Exit code 0 only if nothing is wrong. */
import { parseArgs } from 'node:util';
import { matrixOf } from './faults/matrix.ts';
import { runSeeds } from './faults/run.ts';

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '200' }, first: { type: 'string', default: '0' } },
});
const first = Number(values.first);
const seeds = Array.from({ length: Number(values.seeds) }, (_, index) => first + index);
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const { steps, outcomes, problems, verdict } = await runSeeds(seeds, say);
const { entities, events, repeats, pending } = verdict.events;
say(
  `\n${matrixOf(
    steps,
    outcomes.filter(({ struck }) => struck),
  )}\n`,
);
say(
  `${outcomes.length} operations, ${entities} entities, ${events} events, ${repeats} repeated, ${pending} pending`,
);
for (const problem of problems) say(problem);
say(problems.length === 0 ? 'nothing is wrong' : `${problems.length} things are wrong`);
process.exitCode = problems.length === 0 ? 0 : 1;
