/**
 * Jobs a second: no-op jobs submitted by stream and drained by one executor, all writes synced. Job control runs in
 * a process of its own on SQLite; submitter and executor share this one. Beside the wall time it says what each
 * process spent of the CPU a job: on a machine that others use too, that is the figure to compare.
 *
 *   node libs/jobs/bench/drain.ts [jobs=50000] [level=outcome] [concurrency=512]
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { defineService, newUid, startService } from '@nephos/service';
import { freePort } from '@nephos/service/testing';
import { defineJob, type JobClient, type JobEvents, jobClient, startExecutor } from '../src/index.ts';

const jobs = Number(process.argv[2] ?? 50_000);
const level = (process.argv[3] ?? 'outcome') as JobEvents;
const concurrency = Number(process.argv[4] ?? 512);

let drained = 0;
let onDrained: (() => void) | undefined;
let target = 0;

const noop = defineJob({
  type: 'bench.noop',
  version: 1,
  timeoutMs: 60_000,
  events: level,
  async run() {
    drained += 1;
    if (drained === target) onDrained?.();
    return null;
  },
});

function untilDrained(count: number): Promise<void> {
  target = drained + count;
  return new Promise((resolve) => {
    onDrained = resolve;
  });
}

async function submitAll(client: JobClient, count: number): Promise<number[]> {
  const latencies: number[] = [];
  const submitOne = async (): Promise<void> => {
    const began = performance.now();
    await client.submit(noop, { uid: newUid(), input: {}, owner: '', zone: '', target: '' });
    latencies.push(performance.now() - began);
  };
  let left = count;
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await submitOne();
    }
  };
  await Promise.all(Array.from({ length: 2000 }, lane));
  return latencies.sort((a, b) => a - b);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

interface Spent {
  readonly wall: number;
  readonly own: number;
  readonly control: number;
}

/** Milliseconds so far: wall, CPU of this process, CPU of job control (Linux: 10 ms ticks). */
function spent(pid: number | undefined): Spent {
  const { user, system } = process.cpuUsage();
  const fields =
    readFileSync(`/proc/${pid ?? 0}/stat`, 'utf8')
      .split(') ')[1]
      ?.split(' ') ?? [];
  const control = (Number(fields[11]) + Number(fields[12])) * 10;
  return { wall: performance.now(), own: (user + system) / 1000, control };
}

function report(what: string, since: Spent, pid: number | undefined): void {
  const now = spent(pid);
  const wall = now.wall - since.wall;
  const perJob = (ms: number): string => `${Math.round((ms / jobs) * 1000)} us`;
  say(
    `${what} ${jobs} in ${(wall / 1000).toFixed(2)} s: ${Math.round((jobs / wall) * 1000)} jobs/s (level ${level})`,
  );
  say(`  CPU a job: ${perJob(now.own - since.own)} here, ${perJob(now.control - since.control)} job control`);
}

const data = await mkdtemp(path.join(tmpdir(), 'nephos-drain-'));
const address = `127.0.0.1:${await freePort()}`;
const main = path.resolve(import.meta.dirname, '../../../services/job-control/src/main.ts');
const args =
  process.env['PROFILE'] === undefined ? [main] : ['--cpu-prof', '--cpu-prof-dir', '/tmp/prof', main];
const control = spawn(process.execPath, args, {
  env: { ...process.env, NEPHOS_BIND: address, NEPHOS_DATA: data, NEPHOS_LOG_LEVEL: 'warn' },
  stdio: 'inherit',
});

let client: JobClient | undefined;
let addExecutor: (() => void) | undefined;
const bench = defineService({
  name: 'bench',
  version: '0.1.0',
  config: {},
  async start(ctx) {
    client = jobClient(ctx, { target: address });
    addExecutor = () => startExecutor(ctx, { jobs: [noop], deps: {}, concurrency, jobControl: [address] });
  },
});
const running = await startService(bench, { env: { NEPHOS_DATA: data, NEPHOS_LOG_LEVEL: 'warn' } });
try {
  if (client === undefined || addExecutor === undefined) throw new Error('the service did not start');
  await submitAll(client, 1);
  const submitBegan = spent(control.pid);
  const latencies = await submitAll(client, jobs);
  report('submitted', submitBegan, control.pid);
  say(
    `  p50 ${latencies[jobs >> 1]?.toFixed(1)} ms, p99 ${latencies[Math.floor(jobs * 0.99)]?.toFixed(1)} ms, 2,000 at a time`,
  );

  const all = untilDrained(jobs + 1);
  const drainBegan = spent(control.pid);
  addExecutor();
  await all;
  report('drained', drainBegan, control.pid);

  const both = untilDrained(jobs);
  const bothBegan = spent(control.pid);
  await submitAll(client, jobs);
  await both;
  report('submitted and drained', bothBegan, control.pid);
} finally {
  await running.stop();
  control.kill('SIGTERM');
  await new Promise((resolve) => control.once('exit', resolve));
  await rm(data, { recursive: true });
}
