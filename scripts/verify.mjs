// All that CI runs: every check and then every test, each step named with its time; fails if any of them does.
// Owner: the tool chain. A failed check does not stop the later ones: one run tells all that is wrong.
// The very last line is `N passed, N failed`; a failed check counts as one failure.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { protosAreCurrent } from './generate-protos.mjs';
import { pathWithServers } from './setup/debian-packages.mjs';
import { findNode24 } from './setup/node24.mjs';

const repo = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const node = findNode24();
const closingLine = /^(\d+) passed, (\d+) failed(, \d+ skipped)?$/;

const checks = [
  ['lint: correctness, promises, time', 'oxlint', '--type-aware'],
  ['lint: format', 'biome', 'check'],
  ['lint: source rules', node, 'scripts/lint-source.mjs'],
  ['types', 'tsc', '--noEmit'],
  ['layers', 'depcruise', '--config', '.dependency-cruiser.cjs', '.'],
  ['dead code', 'knip', '--no-config-hints'],
  ['contracts: buf lint', 'buf', 'lint', 'proto'],
  ['contracts: nothing published breaks', node, 'scripts/contracts.mjs', 'check'],
];

/** Resolves with the exit code; `onOutput` takes stdout, which else goes straight through. */
function execute([command, ...args], onOutput) {
  const folders = [path.dirname(node), path.join(repo, 'node_modules/.bin'), pathWithServers];
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: repo,
      env: { ...process.env, PATH: folders.join(path.delimiter) },
      stdio: ['ignore', onOutput ? 'pipe' : 'inherit', 'inherit'],
    });
    child.stdout?.setEncoding('utf8').on('data', onOutput);
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
    // A process that a test left behind may hold the pipe open: that must not hold us.
    child.on('exit', (code) => setTimeout(() => resolve(code ?? 1), 2000).unref());
  });
}

async function step(name, work) {
  console.log(`\n== ${name}`);
  const began = performance.now();
  const passed = await work();
  const seconds = (performance.now() - began) / 1000;
  console.log(`== ${name}: ${passed ? 'ok' : 'FAILED'} in ${seconds.toFixed(1)} s`);
  return { name, passed, seconds };
}

/** Runs the tests, passing their output on but for the closing line, which is ours to print at the end. */
async function runTests() {
  let pending = '';
  let counts = { passed: 0, failed: 1, rest: '' };
  const code = await execute([node, 'scripts/bootstrap.mjs', 'test'], (text) => {
    const lines = (pending + text).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      const closing = closingLine.exec(line);
      if (closing)
        counts = { passed: Number(closing[1]), failed: Number(closing[2]), rest: closing[3] ?? '' };
      else console.log(line);
    }
  });
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}

if (!protosAreCurrent()) {
  await step('contracts: generate', async () => (await execute([node, 'scripts/generate-protos.mjs'])) === 0);
}
const outcomes = [];
for (const [name, ...command] of checks) {
  outcomes.push(await step(name, async () => (await execute(command)) === 0));
}
let counts;
outcomes.push(
  await step('tests', async () => {
    counts = await runTests();
    return counts.failed === 0;
  }),
);

console.log('');
for (const { name, passed, seconds } of outcomes) {
  console.log(`  ${passed ? 'ok    ' : 'FAILED'} ${name.padEnd(36)} ${seconds.toFixed(1)} s`);
}
const failed = counts.failed + outcomes.slice(0, -1).filter(({ passed }) => !passed).length;
console.log(`\n${counts.passed} passed, ${failed} failed${counts.rest}`);
process.exit(failed > 0 ? 1 : 0);
