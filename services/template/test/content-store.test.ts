/** Images by content: kept once, whole or not at all, read in ranges, removed only when nothing refers to them. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { ContentStore } from '../src/adapters/content-store.ts';

const content = randomBytes(2_500_000);
const sha256 = createHash('sha256').update(content).digest('hex');
const quiet = { signal: new AbortController().signal, mostBytes: 2 ** 30, progress: () => undefined };
let folder: string;
let store: ContentStore;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-content-'));
  await writeFile(path.join(folder, 'source'), content);
  store = await ContentStore.open(folder);
});
afterEach(() => rm(folder, { recursive: true }));

async function copy(uid: string) {
  await using source = await open(path.join(folder, 'source'));
  return await store.copy(source, uid, quiet);
}

async function read(offset: number, length: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of store.read(sha256, offset, length)) {
    expect(piece.offset).toBe(offset + Buffer.concat(pieces).length);
    expect(piece.data.length).toBeLessThanOrEqual(2 ** 20);
    pieces.push(piece.data);
  }
  return Buffer.concat(pieces);
}

test('what is copied is hashed, and becomes an image only when kept', async () => {
  expect(await copy('a')).toEqual({ sha256, sizeBytes: content.length });
  expect(await store.images()).toEqual([]);
  await store.keep('a', sha256);
  expect(await store.images()).toEqual([sha256]);
  expect(await store.partials()).toEqual([]);
});

test('keeping again, or the same bytes from another import, is success and one image', async () => {
  await copy('a');
  await copy('b');
  await Promise.all([store.keep('a', sha256), store.keep('b', sha256), store.keep('a', sha256)]);
  expect(await store.images()).toEqual([sha256]);
  expect(await store.partials()).toEqual([]);
});

test('a copy that broke off begins anew', async () => {
  await writeFile(store.partialPath('a'), 'half of something else');
  expect(await copy('a')).toEqual({ sha256, sizeBytes: content.length });
});

test('a source that grew past the limit since it was looked at is not read to its end', async () => {
  await using source = await open(path.join(folder, 'source'));
  const mostBytes = content.length - 1;
  await expect(store.copy(source, 'a', { ...quiet, mostBytes })).rejects.toMatchObject({
    reason: 'IMAGE_TOO_LARGE',
  });
});

test('any range reads just that range', async () => {
  await copy('a');
  await store.keep('a', sha256);
  for (const [offset, length] of [
    [0, 0],
    [0, 1],
    [1_048_575, 2],
    [2_499_999, 10],
    [2_500_000, 0],
  ] as const) {
    const end = length === 0 ? content.length : offset + length;
    expect((await read(offset, length)).equals(content.subarray(offset, end))).toBe(true);
  }
});

test('an image in use is not removed', async () => {
  await copy('a');
  await store.keep('a', sha256);
  await store.removeIf(sha256, () => Promise.resolve(false));
  expect(await store.images()).toEqual([sha256]);
  await store.removeIf(sha256, () => Promise.resolve(true));
  expect(await store.images()).toEqual([]);
  await expect(read(0, 0)).rejects.toMatchObject({ kind: 'not-found' });
});
