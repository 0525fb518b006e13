import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { isUid, systemClock } from '@nephos/service';
import { lockData } from '../src/data-lock.ts';
import { reasonIn } from '../src/local-platform.ts';
import { LogFile } from '../src/log-file.ts';
import { portOwner, proportionalMemory } from '../src/processes.ts';
import { RequestIds } from '../src/request-ids.ts';
import { Screen } from '../src/screen.ts';
import { Supervised } from '../src/supervised.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-local-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a supervised process', () => {
  const supervise = (script: string, onCrash: (how: string) => void) => {
    const log = new LogFile(path.join(folder, 'child.log'));
    const spec = { name: 'child', command: process.execPath, args: ['-e', script], env: {} };
    return new Supervised({ spec, log, clock: systemClock, onCrash: (_, how) => onCrash(how) });
  };

  test('is started again when it dies, and not when it was stopped', async () => {
    const crashes = Promise.withResolvers<string>();
    const child = supervise('setInterval(() => {}, 1000)', crashes.resolve);
    child.keepAlive();
    const first = child.pid;
    process.kill(first ?? 0, 'SIGKILL');
    expect(await crashes.promise).toBe('SIGKILL');
    while (child.pid === undefined || child.pid === first) await systemClock.sleep(10);
    expect(await child.stop(5000)).toBe(true);
    expect(child.pid).toBeUndefined();
  });

  test('that does not listen is killed after its grace', async () => {
    const child = supervise(
      "process.on('SIGTERM', () => {}); console.log('deaf'); setInterval(() => {}, 1000)",
      () => {},
    );
    while (!child.lastLines(1).includes('deaf')) await systemClock.sleep(10);
    expect(await child.stop(50)).toBe(false);
  });

  test('that cannot be started says why', async () => {
    const child = supervise("throw new Error('no such disk')", () => {});
    expect(await child.exited).toBe('exit code 1');
    expect(reasonIn(child.lastLines(20))).toBe('Error: no such disk');
  });
});

test('a folder has one owner, and is free again after it', () => {
  const lock = lockData(folder);
  expect(() => lockData(folder)).toThrow(
    `${folder} is in use: Nephos runs on it already (process ${process.pid})`,
  );
  lock[Symbol.dispose]();
  lockData(folder)[Symbol.dispose]();
});

test('request ids are kept until their outcome was seen', () => {
  const id = new RequestIds(folder).of('vm');
  expect(isUid(id)).toBe(true);
  const later = new RequestIds(folder);
  expect(later.of('vm')).toBe(id);
  later.forget('vm');
  expect(new RequestIds(folder).of('vm')).not.toBe(id);
});

test('a log makes way once it is long', async () => {
  const file = path.join(folder, 'long.log');
  using log = new LogFile(file);
  const mebibyte = 'x'.repeat(2 ** 20);
  for (let n = 0; n < 10; n += 1) log.write(mebibyte);
  log.write('last\n');
  expect((await stat(`${file}.1`)).size).toBeGreaterThan(8 * 2 ** 20);
  expect((await readFile(file, 'utf8')).length).toBeLessThan(2 * 2 ** 20);
  expect(log.lastLines(1)[0]).toMatch(/last$/);
});

test('who listens on a port is told', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  expect(portOwner(port)).toContain(`process ${process.pid} (`);
  await new Promise((resolve) => server.close(resolve));
  expect(portOwner(port)).toBeUndefined();
});

test('memory is counted', () => {
  expect(proportionalMemory([process.pid])).toBeGreaterThan(10 * 2 ** 20);
  expect(proportionalMemory([2 ** 30])).toBe(0);
});

describe('the screen', () => {
  const drawn = (isTTY: boolean, draw: (screen: Screen) => void): string => {
    let text = '';
    const terminal = { isTTY, columns: 40, write: (piece: string) => (text += piece) };
    draw(new Screen(terminal, systemClock, {}));
    return text;
  };
  const draw = (screen: Screen): void => {
    screen.live('working');
    screen.done('zone', 'local', 1200);
    screen.live('');
  };

  test('is plain lines where there is no terminal', () => {
    expect(drawn(false, draw)).toBe('  ok zone             local  1.2 s\n');
  });

  test('draws the live line again below what is said, and takes it away', () => {
    const text = drawn(true, draw);
    expect(text).toContain('working');
    expect(text.endsWith('\r\u001b[2K')).toBe(true);
  });
});
