// Writes and reads a second against a fresh store, many in flight and one at a time. Prints; judges nothing.
// Run: node libs/store/bench/throughput.ts [in flight] [documents] [mongodb://host/empty-database]; SQLite by default.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { systemClock } from '@nephos/service';
import { defineCollection, openStore } from '../src/index.ts';

const [inFlight = 3000, documents = 200_000] = process.argv.slice(2, 4).map(Number);
const folder = await mkdtemp(join(tmpdir(), 'nephos-store-'));
const url = process.argv[4] ?? `sqlite://${folder}/store.db`;
const store = await openStore({ url, clock: systemClock });
const jobs = await store.collection(
  defineCollection<{ state: string; input: string }>({
    name: 'jobs',
    schemaVersion: 1,
    indexes: { byState: { fields: ['state'] } },
  }),
);
const input = 'x'.repeat(250);

async function measure(label: string, work: (n: number) => Promise<unknown>): Promise<void> {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const start = systemClock.monotonic();
  const before = process.cpuUsage();
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < documents) await work(next++);
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  const seconds = (systemClock.monotonic() - start) / 1000;
  const { user, system } = process.cpuUsage(before);
  const cost = ((user + system) / documents).toFixed(0);
  const loop = (delay.percentile(99) / 1e6).toFixed(0);
  process.stdout.write(
    `${label}: ${Math.round(documents / seconds)}/s, ${cost} µs of processor time each, event loop p99 ${loop} ms\n`,
  );
}

await measure('insert', (n) => jobs.insert(`a${n}`, { state: 'queued', input }));
await measure('update, index changes', (n) => jobs.update(`a${n}`, 1, { state: 'done', input }));
await measure('update, index stays', (n) => jobs.update(`a${n}`, 2, { state: 'done', input }));
await measure('get', (n) => jobs.get(`a${n}`));
await measure('insert with event', (n) => jobs.insert(`b${n}`, { state: 'queued', input }, { n }));
await measure('update with event', (n) => jobs.update(`b${n}`, 1, { state: 'done', input }, { n }));
await measure('clear', (n) => store.outbox.clear('jobs', `b${n}`, 2));

const times: number[] = [];
for (let n = 0; n < Math.min(1000, documents); n += 1) {
  const start = systemClock.monotonic();
  await jobs.update(`a${n}`, 3, { state: 'done', input });
  times.push(systemClock.monotonic() - start);
}
times.sort((a, b) => a - b);
process.stdout.write(
  `one at a time: p50 ${times[times.length >> 1]?.toFixed(2)} ms, p99 ${times[Math.floor(times.length * 0.99)]?.toFixed(2)} ms\n`,
);
await store[Symbol.asyncDispose]();
await rm(folder, { recursive: true });
