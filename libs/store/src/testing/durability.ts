// What was acknowledged is there: after closing, and after the writing process was killed outright.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { Unavailable } from '@nephos/service';
import { type OpenFresh, opened, parts } from './fixture.ts';

const rounds = 3;
const killAfter = 1500;

/** Runs a writing child process until it acknowledged enough, kills it, and returns id → last acknowledged rank. */
async function writeUntilKilled(url: string, prefix: string): Promise<Map<string, number>> {
  const script = fileURLToPath(new URL('./writer-child.ts', import.meta.url));
  const child = spawn(process.execPath, [script, url, prefix], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const acknowledged = new Map<string, number>();
  let lines = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const [id, rank] = line.split(' ');
    // The last line may have been cut off by the kill.
    if (id === undefined || !/^\d+;$/.test(rank ?? '')) continue;
    acknowledged.set(id, Number.parseInt(rank as string, 10));
    lines += 1;
    if (lines === killAfter) child.kill('SIGKILL');
  }
  expect(await exited).toEqual([null, 'SIGKILL']);
  return acknowledged;
}

export function durabilityTests(openFresh: OpenFresh): void {
  describe('durability', () => {
    test('a store opened again has everything', async () => {
      const fresh = await openFresh();
      try {
        await opened(fresh, async (store) => {
          const collection = await store.collection(parts);
          await collection.insert('kept', { name: 'n', rank: 1 }, 'created');
          await collection.insert('removed', {}, 'created');
          await collection.remove('removed', 1, 'deleted');
        });
        await opened(fresh, async (store) => {
          const collection = await store.collection(parts);
          expect(await collection.get('kept')).toEqual({
            id: 'kept',
            revision: 1,
            eventSeq: 1,
            value: { name: 'n', rank: 1 },
          });
          expect(await collection.get('removed')).toBeUndefined();
          await expect(collection.insert('other', { name: 'n' })).rejects.toThrow('byName');
          const pending = await store.outbox.pending({ limit: 10 });
          expect(pending.map((one) => [one.id, one.deleted, one.events.length])).toEqual([
            ['kept', false, 1],
            ['removed', true, 2],
          ]);
        });
      } finally {
        await fresh.destroy();
      }
    });

    test('closing waits for what was accepted and refuses the rest', async () => {
      const fresh = await openFresh();
      try {
        const store = await fresh.open();
        const collection = await store.collection(parts);
        const writes = Array.from({ length: 2500 }, (_, n) => collection.insert(`i${n}`, { rank: n }));
        const closed = store[Symbol.asyncDispose]();
        await expect(collection.insert('late', {})).rejects.toBeInstanceOf(Unavailable);
        await closed;
        await Promise.all(writes);
        await store[Symbol.asyncDispose]();
        await expect(store.ping()).rejects.toBeInstanceOf(Unavailable);
        await opened(fresh, async (again) =>
          expect(await (await again.collection(parts)).count()).toBe(2500),
        );
      } finally {
        await fresh.destroy();
      }
    });

    test('every write acknowledged by a process that was then killed is there', async () => {
      const fresh = await openFresh();
      try {
        for (let round = 0; round < rounds; round += 1) {
          const acknowledged = await writeUntilKilled(fresh.url, `r${round}`);
          expect(acknowledged.size).toBeGreaterThan(0);
          await opened(fresh, async (store) => {
            const collection = await store.collection(parts);
            let missing = 0;
            for (const [id, rank] of acknowledged) {
              const stored = await collection.get(id);
              const whole = stored !== undefined && stored.eventSeq === stored.revision;
              if (!whole || (stored.value.rank ?? -1) < rank) missing += 1;
            }
            expect(missing).toBe(0);
            for (const { id, events } of await store.outbox.pending({ limit: 1000 })) {
              const stored = await collection.get(id);
              expect(events.map((event) => event.seq)).toEqual(events.map((_, n) => n + 1));
              expect(events.at(-1)).toMatchObject({ seq: stored?.eventSeq, payload: stored?.value.rank });
            }
          });
        }
      } finally {
        await fresh.destroy();
      }
    });
  });
}
