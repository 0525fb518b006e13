/** `nephos store move` as a person types it. What it moves is tested in libs/store. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import { defineCollection, openStore } from '@nephos/store';
import { onMongo } from '@nephos/store/testing/on-mongo';
import { runLine } from './cli-run.ts';

const nowhere = { directory: '127.0.0.1:1', nats: 'nats://127.0.0.1:1' };
const run = (line: string) => runLine(nowhere, line);
const things = defineCollection<{ n: number }>({ name: 'things', schemaVersion: 1, indexes: {} });

await onMongo((server) => {
  test(`looks, moves, tells what it did, and finds it there again (${server.name})`, async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'nephos-cli-move-'));
    try {
      await using store = await openStore({ url: `sqlite://${folder}/events/events.db`, clock: systemClock });
      const collection = await store.collection(things);
      for (const id of ['a', 'b', 'c']) await collection.insert(id, { n: 1 }, 'made');
      await collection.remove('c', 1, 'removed');
      const move = `store move --from ${folder} --to ${server.url}`;
      expect(await run(move)).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('is in use: stop the'),
      });
      await store[Symbol.asyncDispose]();
      const dry = await run(`${move} --dry-run`);
      expect(dry).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/events +would be moved +2 +1 +4 /),
      });
      const moved = await run(move);
      expect(moved.stdout).toMatch(/^SERVICE .*\nevents +moved +2 +1 +4 +\w+_events +[0-9a-f]{12}\n$/);
      expect(moved.stderr).toContain('events: verifying things 3 of 3');
      const [again] = JSON.parse((await run(`${move} --json`)).stdout).services;
      expect(again).toMatchObject({
        outcome: 'there already',
        digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test('says what is missing', async () => {
  expect(await run('store move --from .')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('NEPHOS_STORE'),
  });
  expect(await run('store move')).toMatchObject({ code: 2 });
  const secret = await run('store move --from /none --to mongodb://u:secret@h');
  expect(secret).toMatchObject({ code: 1, stderr: expect.stringContaining('/none is not there') });
  expect(secret.stderr).not.toContain('secret');
});
