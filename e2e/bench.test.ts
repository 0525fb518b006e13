// The benchmarks run, and say what they found in lines that programs can read. How fast anything is is no test.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

const run = promisify(execFile);
const bench = path.join(import.meta.dirname, 'bench/main.ts');

async function lines(...args: string[]): Promise<Record<string, unknown>[]> {
  const flags = ['--disable-warning=ExperimentalWarning', bench, ...args, '--quick', '--json'];
  const { stdout } = await run(process.execPath, flags, { env: { ...process.env, NODE_OPTIONS: '' } });
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test.each([
  ['events', 'insert', ['throughput', 'cpu', 'cpu-without-broker']],
  ['events', '100-subscribers', ['throughput', 'cpu', 'cpu-without-broker']],
  ['rpc', 'unary-16', ['throughput', 'p50', 'p99', 'cpu']],
  ['rpc', 'bidi-16', ['throughput', 'cpu']],
])('bench %s %s runs and prints a JSON line a figure', async (name, case_, figures) => {
  const results = await lines(name, '--case', case_);
  expect(results.map((result) => result['case'])).toEqual(figures.map((figure) => `${case_}/${figure}`));
  for (const result of results) {
    expect(result).toMatchObject({
      bench: name,
      ours: expect.any(Number),
      peer: expect.any(Number),
      peerName: expect.any(String),
      ratio: expect.any(Number),
      unit: expect.any(String),
      ci: [expect.any(Number), expect.any(Number)],
      rounds: 1,
      better: expect.stringMatching(/^(higher|lower)$/),
    });
  }
});

test('what there is to measure is told; what there is not is refused', async () => {
  const node = (...args: string[]) => run(process.execPath, ['--no-warnings', bench, ...args]);
  expect((await node('--help')).stdout).toMatch(/usage: pnpm bench events\|rpc\|directory/);
  await expect(node('weather')).rejects.toMatchObject({ code: 2 });
  await expect(node('events', '--case', 'weather')).rejects.toMatchObject({ code: 2 });
  await expect(node('events', '--rounds', 'many')).rejects.toMatchObject({ code: 2 });
});
