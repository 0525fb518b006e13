/**
 * `pnpm bench events|rpc|directory`: Nephos beside what one would use without it, in paired rounds.
 * Everything is real and on loopback; what is started here is stopped here, and folders are temporary.
 */
import os from 'node:os';
import { parseArgs } from 'node:util';
import { machineLines } from './machine.ts';
import { type Case, type Result, resultsOf, runPaired, type Scale } from './paired.ts';
import { printJson, printTable, say } from './report.ts';

/** A bench's cases, and the programs whose versions matter. */
interface Bench {
  readonly cases: readonly Case[];
  readonly programs: readonly string[];
}

/** Loaded when asked for: each needs other libraries. */
const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  events: async () => ({ cases: (await import('./events/cases.ts')).cases, programs: ['nats-server'] }),
  rpc: async () => ({ cases: (await import('./rpc/cases.ts')).cases, programs: [] }),
  directory: async () => ({
    cases: (await import('./directory/cases.ts')).cases,
    programs: ['nats-server', 'etcd'],
  }),
};

const help = `usage: pnpm bench ${Object.keys(benches).join('|')} [options]

  --json       a JSON line a figure on standard output; the rest goes to standard error
  --rounds N   paired rounds of each case (default: as many as take about three minutes in all)
  --case X     only cases whose name begins with X; may be given again
  --quick      tiny rounds that only show that everything runs
  --help       this

ratio is ours to the peer's, the median of the rounds' own ratios, with its 95 % interval by bootstrap.
docs/benchmarks.md says what each case does and why its peer is fair.
`;

interface Wishes {
  readonly rounds: number | undefined;
  readonly scale: Scale;
  readonly json: boolean;
}

async function runCase(bench: string, case_: Case, { rounds, scale, json }: Wishes): Promise<Result[]> {
  say(`\n${bench} ${case_.name}: ${case_.about}\n  peer: ${case_.peerName}`);
  await using sides = await case_.start(scale);
  const counts =
    scale === 'quick'
      ? { rounds: rounds ?? 1, warmUp: 0 }
      : { rounds: rounds ?? case_.rounds, warmUp: case_.warmUp };
  const pairs = await runPaired(sides, counts, ({ ours, peer }, round) => {
    const told = case_.figures.map(
      ({ name, unit }) => `${name} ${short(ours[name])} to ${short(peer[name])} ${unit}`,
    );
    say(`  round ${round + 1}: ${told.join(', ')}`);
  });
  const results = resultsOf(bench, case_, pairs, os.loadavg()[0] ?? NaN);
  if (json) for (const result of results) printJson(result);
  return results;
}

function short(value: number | undefined): string {
  return value === undefined ? '-' : String(Number(value.toPrecision(3)));
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      case: { type: 'string', multiple: true, default: [''] },
    },
  });
  const [name = ''] = positionals;
  const load = Object.hasOwn(benches, name) ? benches[name] : undefined;
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  const badRounds = rounds !== undefined && !(Number.isSafeInteger(rounds) && rounds > 0);
  if (values.help || load === undefined || badRounds) {
    process.stdout.write(help);
    return values.help ? 0 : 2;
  }
  const { cases, programs } = await load();
  const chosen = cases.filter((each) => values.case.some((prefix) => each.name.startsWith(prefix)));
  if (chosen.length === 0) {
    say(`no case begins so: there are ${cases.map((each) => each.name).join(', ')}`);
    return 2;
  }
  for (const line of await machineLines(programs)) say(line);
  const wishes: Wishes = { rounds, scale: values.quick ? 'quick' : 'full', json: values.json };
  const results: Result[] = [];
  for (const each of chosen) results.push(...(await runCase(name, each, wishes)));
  if (!values.json) printTable(results);
  return 0;
}

process.exitCode = await main();
