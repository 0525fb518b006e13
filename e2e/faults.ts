/**
 * The fault matrix by hand: `pnpm faults --seeds 200 [--first 0] [--replicas 2]`. Exit code 0 only if nothing is wrong.
 * Several instances share a MongoDB server that is started for them.
 */
import { parseArgs } from 'node:util';
import { startMongoServer } from '@nephos/store/testing';
import { matrixOf } from './faults/matrix.ts';
import { runSeeds, type SeedOptions } from './faults/run.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    first: { type: 'string', default: '0' },
    replicas: { type: 'string', default: '1' },
  },
});
const first = Number(values.first);
const seeds = Array.from({ length: Number(values.seeds) }, (_, index) => first + index);
const say = (line: string): void => void process.stdout.write(`${line}\n`);

await using server = new AsyncDisposableStack();

async function several(replicas: number): Promise<SeedOptions | undefined> {
  if (replicas === 1) return undefined;
  const mongo = await startMongoServer();
  if ('missing' in mongo) throw new Error(mongo.missing);
  server.use(mongo);
  return { replicas, store: mongo.fresh() };
}

const { steps, outcomes, problems, verdict } = await runSeeds(
  seeds,
  say,
  await several(Number(values.replicas)),
);
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
