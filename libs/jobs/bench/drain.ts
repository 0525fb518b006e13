/**
 * Jobs a second: no-op jobs submitted by stream and drained by one executor, all writes synced. Job control runs in
 * a process of its own on SQLite; submitter and executor share this one.
 *
 *   node libs/jobs/bench/drain.ts [jobs=50000] [level=outcome] [concurrency=512]
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { defineService, newUid, startService } from '@nephos/service';
import { defineJob, type JobClient, type JobEvents, jobClient, startExecutor } from '../src/index.ts';

const jobs = Number(process.argv[2] ?? 50_000);
const level = (process.argv[3] ?? 'outcome') as JobEvents;
const concurrency = Number(process.argv[4] ?? 512);

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

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
  const began = performance.now();
  const latencies = await submitAll(client, jobs);
  const submitted = performance.now() - began;
  say(
    `submitted ${jobs} in ${(submitted / 1000).toFixed(2)} s: ${Math.round((jobs / submitted) * 1000)} jobs/s`,
  );
  say(
    `  p50 ${latencies[jobs >> 1]?.toFixed(1)} ms, p99 ${latencies[Math.floor(jobs * 0.99)]?.toFixed(1)} ms, 2,000 at a time`,
  );

  const all = untilDrained(jobs + 1);
  const drainBegan = performance.now();
  addExecutor();
  await all;
  const drain = performance.now() - drainBegan;
  say(
    `drained ${jobs} in ${(drain / 1000).toFixed(2)} s: ${Math.round((jobs / drain) * 1000)} jobs/s (level ${level})`,
  );

  const both = untilDrained(jobs);
  const bothBegan = performance.now();
  await submitAll(client, jobs);
  await both;
  const flow = performance.now() - bothBegan;
  say(
    `submitted and drained ${jobs} in ${(flow / 1000).toFixed(2)} s: ${Math.round((jobs / flow) * 1000)} jobs/s`,
  );
} finally {
  await running.stop();
  control.kill('SIGTERM');
  await new Promise((resolve) => control.once('exit', resolve));
  await rm(data, { recursive: true });
}
