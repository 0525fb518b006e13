/** Fences on a real store: what is lower touches nothing, also after sweeps, races and hostile numbers. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Fence } from '@nephos/proto/nephos/plugin/v1/plugin';
import { type Clock, newUid, offsetClock, systemClock } from '@nephos/service';
import { openStore, type Store } from '@nephos/store';
import { FenceGuard } from '../src/fence-guard.ts';

const dayMs = 24 * 60 * 60_000;
let folder = '';
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nephos-fences-'));
  store = await openStore({ url: `sqlite://${folder}/f.db`, clock: systemClock });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const guardAt = (clock: Clock = systemClock) => FenceGuard.open(store, clock);
const fence = (entityUid: string, generation: bigint, sequence = 1n): Fence => ({
  entityUid,
  generation,
  epoch: 1n,
  sequence,
});

test('a number too large to be kept exactly is refused, not rounded into an equal one', async () => {
  const guard = await guardAt();
  const uid = newUid();
  await expect(guard.admit(fence(uid, 2n ** 53n + 1n), uid)).rejects.toMatchObject({ kind: 'invalid' });
  await expect(guard.admit(fence(uid, -1n), uid)).rejects.toMatchObject({ kind: 'invalid' });
  await guard.admit(fence(uid, 1n), uid);
});

test('a removal that ends late does not have the fence of a newer operation forgotten', async () => {
  const guard = await guardAt();
  const uid = newUid();
  await guard.admit(fence(uid, 5n), uid);
  await guard.admit(fence(uid, 6n), uid);
  await guard.entityGone(fence(uid, 5n), uid);
  const later = await guardAt(offsetClock(systemClock, 2 * dayMs));
  await later.sweep();
  await expect(guard.admit(fence(uid, 5n), uid)).rejects.toMatchObject({ reason: 'FENCED' });
});

test('one sweep forgets all that are gone for a day, however many, and no other', async () => {
  const guard = await guardAt();
  const gone = Array.from({ length: 2_100 }, () => newUid());
  const kept = newUid();
  await Promise.all(
    gone.map(async (uid) => {
      await guard.admit(fence(uid, 9n), uid);
      await guard.entityGone(fence(uid, 9n), uid);
    }),
  );
  await guard.admit(fence(kept, 9n), kept);
  await (await guardAt(offsetClock(systemClock, 2 * dayMs))).sweep();
  for (const uid of [gone[0], gone[1_050], gone[2_099]]) await guard.admit(fence(uid ?? '', 1n), uid ?? '');
  await expect(guard.admit(fence(kept, 1n), kept)).rejects.toMatchObject({ reason: 'FENCED' });
});

test('a fence swept while it is being raised is written anew', async () => {
  const uid = newUid();
  const guard = await guardAt();
  await guard.admit(fence(uid, 1n), uid);
  await guard.entityGone(fence(uid, 1n), uid);
  const later = await guardAt(offsetClock(systemClock, 2 * dayMs));
  await Promise.all(
    Array.from({ length: 20 }, (_, n) => [later.sweep(), guard.admit(fence(uid, 2n + BigInt(n)), uid)])
      .flat()
      .map((work) => work.catch((error: unknown) => expect(error).toMatchObject({ reason: 'FENCED' }))),
  );
  await guard.admit(fence(uid, 99n), uid);
  await expect(guard.admit(fence(uid, 98n), uid)).rejects.toMatchObject({ reason: 'FENCED' });
});
