// The program that the bootstrap starts must get our signals, and its exit code must become ours.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { expect, test } from '@jest/globals';

const launcher = path.join(import.meta.dirname, '../setup/node24.mjs');

/** Starts a launcher that runs `program`; resolves once the program has written its first output. */
async function launch(program: string) {
  const code = `
    import { runNode24 } from ${JSON.stringify(launcher)};
    process.exitCode = await runNode24(['-e', ${JSON.stringify(program)}]);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

const lasting = (signal: string) => `
  process.on('${signal}', () => process.exit(7));
  setInterval(() => undefined, 1000);
  console.log('ready');`;

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  '%s reaches the program, whose exit code comes back',
  async (signal) => {
    const child = await launch(lasting(signal));
    const exited = once(child, 'exit');
    child.kill(signal);
    expect(await exited).toEqual([7, null]);
  },
);

test('a program that a signal killed ends as a shell would tell it', async () => {
  const child = await launch(`console.log('ready'); process.kill(process.pid, 'SIGKILL');`);
  const exited = child.exitCode === null ? await once(child, 'exit') : [child.exitCode, null];
  expect(exited).toEqual([137, null]);
});
