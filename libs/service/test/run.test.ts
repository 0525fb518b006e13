/** Whole processes: exit codes, signals, and that a stopped service leaves nothing open. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from '@jest/globals';

function start(file: string, env: Readonly<Record<string, string>> = {}) {
  const script = path.join(import.meta.dirname, file);
  const child = spawn(process.execPath, [script], { env: { PATH: process.env['PATH'], ...env } });
  return { child, out: text(child.stdout), errors: text(child.stderr) };
}

async function exitOf(child: ChildProcess): Promise<number | null> {
  const [code] = (await once(child, 'exit')) as [number | null];
  return code;
}

describe('a process', () => {
  test('ends by itself once its services have stopped: nothing is left open', async () => {
    const { child, out } = start('leak-process.ts');
    const code = await exitOf(child);
    expect(await out).toBe('stopped\n');
    expect(code).toBe(0);
  });

  test('SIGTERM drains all of its services, and the exit code is 0', async () => {
    const { child, errors } = start('run-process.ts', { NEPHOS_DRAIN_DELAY: '0ms', NEPHOS_LOG_TO: 'stderr' });
    const exit = exitOf(child);
    let serving = 0;
    child.stderr.on('data', (chunk: Buffer) => {
      const seen = chunk.toString().split('"service serving"').length - 1;
      serving += seen;
      if (seen > 0 && serving === 2) child.kill('SIGTERM');
    });
    expect(await exit).toBe(0);
    expect((await errors).match(/"service stopped"/g)).toHaveLength(2);
  });

  test('a wrong configuration exits with 2 and one line that says what is allowed', async () => {
    const { child, errors } = start('run-process.ts', {
      NEPHOS_LOG_LEVEL: 'silent',
      NEPHOS_SECOND_WIDTH: 'wide',
    });
    expect(await exitOf(child)).toBe(2);
    expect(await errors).toBe(
      'configuration: NEPHOS_SECOND_WIDTH is "wide"; allowed: a whole number from 1 to 9\n',
    );
  });

  test('a service that cannot go on takes the process down with 1', async () => {
    const env = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0ms', NEPHOS_FIRST_BREAK: 'true' };
    const { child, errors } = start('run-process.ts', env);
    expect(await exitOf(child)).toBe(1);
    expect(await errors).toContain('the disk is gone');
  });
});
