/** Hostile paths: only regular files below the named folders, whatever links say. */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Sources } from '../src/adapters/sources.ts';

let root: string;
let sources: Sources;

beforeAll(async () => {
  root = await realpath(await mkdtemp(path.join(tmpdir(), 'nephos-sources-')));
  for (const folder of ['allowed', 'allowed/deep', 'allowed-not', 'built-in', 'secret']) {
    await mkdir(path.join(root, folder));
  }
  for (const file of [
    'allowed/disk',
    'allowed/deep/disk',
    'allowed-not/disk',
    'built-in/tiny.qcow2',
    'secret/key',
  ]) {
    await writeFile(path.join(root, file), file);
  }
  await symlink(path.join(root, 'secret/key'), path.join(root, 'allowed/link-out'));
  await symlink(path.join(root, 'secret'), path.join(root, 'allowed/folder-out'));
  await symlink(path.join(root, 'allowed/disk'), path.join(root, 'allowed/link-in'));
  execFileSync('mkfifo', [path.join(root, 'allowed/pipe')]);
  sources = new Sources(path.join(root, 'built-in'), [
    path.join(root, 'allowed'),
    path.join(root, 'missing'),
  ]);
});
afterAll(() => rm(root, { recursive: true }));

async function readFrom(file: string): Promise<string> {
  await using handle = await sources.open({ kind: 'file', path: path.join(root, file) });
  return await handle.readFile('utf8');
}

describe('local files', () => {
  test.each([
    ['allowed/disk', 'allowed/disk'],
    ['allowed/deep/disk', 'allowed/deep/disk'],
    ['allowed/deep/../disk', 'allowed/disk'],
    ['allowed/link-in', 'allowed/disk'],
  ])('%s is read', async (file, content) => {
    expect(await readFrom(file)).toBe(content);
  });

  test.each([
    'allowed/link-out',
    'allowed/folder-out/key',
    'allowed/../secret/key',
    'allowed-not/disk',
    'allowed/pipe',
    'allowed/deep',
    'allowed/nothing',
    'allowed',
  ])('%s is refused', async (file) => {
    await expect(readFrom(file)).rejects.toMatchObject({ kind: 'invalid', reason: 'IMAGE_SOURCE_REFUSED' });
  });

  test.each(['relative/disk', '', `/${'x'.repeat(5000)}`, '/etc/passwd\0', '/etc/shadow'])(
    'the path %j is refused',
    async (file) => {
      await expect(sources.open({ kind: 'file', path: file })).rejects.toMatchObject({
        reason: 'IMAGE_SOURCE_REFUSED',
      });
    },
  );
});

describe('built-in images', () => {
  test('are found by name', async () => {
    await using handle = await sources.open({ kind: 'built-in', name: 'tiny' });
    expect(await handle.readFile('utf8')).toBe('built-in/tiny.qcow2');
  });

  test.each(['../secret/key', 'huge', 'TINY', '', 'tiny.qcow2', '/etc/passwd'])(
    '%j is refused',
    async (name) => {
      await expect(sources.open({ kind: 'built-in', name })).rejects.toMatchObject({
        reason: 'IMAGE_SOURCE_REFUSED',
      });
    },
  );
});
