/** Reading and cutting the serial log. */
import { appendFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { readSerialLog, trimSerialLog } from '../src/adapters/qemu/serial-log.ts';

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-serial-'));
  file = path.join(folder, 'serial.log');
});
afterEach(async () => await rm(folder, { recursive: true }));

async function read(offset: number, maxBytes = 100) {
  const piece = await readSerialLog(file, offset, maxBytes);
  return { ...piece, data: piece.data.toString() };
}

test('pieces by offset, from the start, the end and beyond', async () => {
  expect(await read(0)).toEqual({ offset: 0, data: '', end: 0 });
  await appendFile(file, '0123456789');
  expect(await read(0)).toEqual({ offset: 0, data: '0123456789', end: 10 });
  expect(await read(4, 3)).toEqual({ offset: 4, data: '456', end: 10 });
  expect(await read(-3)).toEqual({ offset: 7, data: '789', end: 10 });
  expect(await read(-30)).toEqual({ offset: 0, data: '0123456789', end: 10 });
  expect(await read(30)).toEqual({ offset: 10, data: '', end: 10 });
});

test('a long log is cut to its end; offsets go on counting', async () => {
  await appendFile(file, '0123456789');
  await trimSerialLog(file, 10, 4);
  expect(await read(0)).toMatchObject({ offset: 0, end: 10 });
  await appendFile(file, 'ab');
  await trimSerialLog(file, 10, 4);
  expect((await stat(file)).size).toBe(4);
  expect(await read(0)).toEqual({ offset: 8, data: '89ab', end: 12 });
  await appendFile(file, 'cdefghijk');
  expect(await read(12)).toEqual({ offset: 12, data: 'cdefghijk', end: 21 });
  await trimSerialLog(file, 10, 4);
  expect(await read(-2)).toEqual({ offset: 19, data: 'jk', end: 21 });
});
