/** Runs of seeds: each seed is one scenario in a world of its own, and says in a line what was found. */

import { scenarios } from './scenarios.ts';
import { seeded } from './seeded.ts';
import { type Findings, World } from './world.ts';

type ScenarioName = keyof typeof scenarios;

const names = Object.keys(scenarios) as ScenarioName[];

export interface SeedReport {
  readonly seed: number;
  readonly scenario: ScenarioName;
  readonly findings: Findings;
  /** All that is wrong; empty: nothing. */
  readonly problems: readonly string[];
}

export async function runSeed(seed: number): Promise<SeedReport> {
  const scenario = names[seed % names.length] ?? 'sourceKilled';
  await using world = await World.make();
  const findings = await scenarios[scenario](world, seed, seeded(seed));
  return { seed, scenario, findings, problems: problemsOf(findings) };
}

export function problemsOf({ stream, handler, stale, pending }: Findings): string[] {
  const wrongs = {
    ...{ 'lost in the stream': stream.lost, 'disordered in the stream': stream.disordered },
    ...{ 'lost to the handler': handler.lost, 'doubled to the handler': handler.doubled },
    ...{ 'disordered to the handler': handler.disordered, 'stale states': stale.length, pending },
  };
  return Object.entries(wrongs).flatMap(([what, count]) => (count === 0 ? [] : [`${count} ${what}`]));
}

export function lineOf({ seed, scenario, findings, problems }: SeedReport): string {
  const { events, stream, handler, stale, resynced } = findings;
  const told = `${events} events, lost ${handler.lost}, doubled ${handler.doubled}, disordered ${handler.disordered}`;
  const raw = `in the stream ${stream.lost}/${stream.doubled}/${stream.disordered}, resynced ${resynced}, stale ${stale.length}`;
  const verdict = problems.length === 0 ? 'ok' : `WRONG: ${problems.join(', ')}`;
  return `seed ${seed} ${scenario}: ${told}; ${raw}: ${verdict}`;
}
