/**
 * Rolling restarts by hand: `pnpm rolling [--kill] [--rounds 1] [--lives 3] [--only a,b] [--no-retries]`. Each instance
 * is a process; `--kill` takes it down with SIGKILL; `--no-retries` has a client that gives up at once, which is the
 * control: with `--kill` its calls must fail. Exit code 0 only if nothing is wrong; calls that fail count in a drain.
 */
import { parseArgs } from 'node:util';
import { startMongoServer } from '@nephos/store/testing';
import { replicated } from './rolling/rollout.ts';
import { runRolling, tell } from './rolling/run.ts';

const { values } = parseArgs({
  options: {
    kill: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '1' },
    lives: { type: 'string', default: '3' },
    only: { type: 'string', default: replicated.join() },
    'no-retries': { type: 'boolean', default: false },
  },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const server = await startMongoServer();
if ('missing' in server) throw new Error(server.missing);
await using _server = server;
say(server.name);
const how = values.kill ? 'kill' : 'drain';
const load = { lives: Number(values.lives), patient: !values['no-retries'] };
const report = await runRolling({
  ...{ store: server.fresh(), how, processes: true, load, say },
  rounds: Number(values.rounds),
  services: replicated.filter((service) => values.only.split(',').includes(service)),
});
const { counts, verdict, unseen } = report;
say(tell(report));
const problems = [...counts.misended, ...counts.disorder, ...verdict.problems, ...unseen];
if (how === 'drain') problems.push(...counts.failures);
else for (const failure of counts.failures) say(`a call failed: ${failure}`);
for (const problem of problems) say(problem);
say(problems.length === 0 ? 'nothing is wrong' : `${problems.length} things are wrong`);
process.exitCode = problems.length === 0 ? 0 : 1;
