import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { findEndpoints, readEndpoints, removeEndpoints, writeEndpoints } from '@nephos/client';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-endpoints-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const endpoints = {
  directory: '127.0.0.1:7401',
  nats: 'nats://127.0.0.1:7400',
  services: { directory: 'x:1' },
};

test('what the launcher writes is found from below, and gone once it stops', async () => {
  const data = path.join(folder, '.nephos');
  const below = path.join(folder, 'a/b');
  await mkdir(below, { recursive: true });
  await writeEndpoints(data, endpoints);
  expect(findEndpoints(below)).toEqual(endpoints);
  expect(findEndpoints(below, (process.getuid?.() ?? 0) + 1)).toBeUndefined();
  await removeEndpoints(data);
  expect(readEndpoints(data)).toBeUndefined();
});

test('a file that says nothing is refused by name', async () => {
  await writeFile(path.join(folder, 'endpoints.json'), '{"directory": 1}');
  expect(() => readEndpoints(folder)).toThrow(`${path.join(folder, 'endpoints.json')} does not say`);
  await writeFile(path.join(folder, 'endpoints.json'), '{');
  expect(() => readEndpoints(folder)).toThrow('is not JSON');
});
