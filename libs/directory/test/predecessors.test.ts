/** Only those whose process is known to be dead are superseded. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { Predecessors } from '../src/predecessors.ts';

test('the dead of this machine are named until the directory has taken them out', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-predecessors-'));
  const ended = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
  await once(ended, 'exit');
  const living = spawn(process.execPath, ['-e', 'process.stdin.resume()'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const traces = [
    { uid: 'dead', host: hostname(), pid: ended.pid },
    { uid: 'living', host: hostname(), pid: living.pid },
    { uid: 'elsewhere', host: 'another-machine', pid: ended.pid },
    { uid: 'before', host: hostname(), pid: process.pid },
  ];
  await writeFile(path.join(folder, 'a.instances'), JSON.stringify(traces));

  const first = new Predecessors(folder, 'a', 'first');
  await first.arrive();
  expect(first.dead).toEqual(['dead', 'before']);
  const second = new Predecessors(folder, 'a', 'second');
  await second.arrive();
  expect(second.dead).toEqual(['dead', 'before']);
  await first.confirmed();
  expect(first.dead).toEqual([]);
  await first.leave(true);
  await second.leave(false);

  const third = new Predecessors(folder, 'a', 'third');
  await third.arrive();
  expect(third.dead).toEqual(['second']);
  await third.leave(true);
  living.kill();
  await once(living, 'exit');
  await rm(folder, { recursive: true });
});
