/** Making images with the real qemu-img, and its limits. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import { QemuImg } from '../src/index.ts';

const qemuImg = new QemuImg({ clock: systemClock });
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'qemu-img-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('an overlay names its base and its format, and may be larger', async () => {
  const base = path.join(folder, 'base.qcow2');
  const overlay = path.join(folder, 'overlay.qcow2');
  await qemuImg.create(base, 2 ** 20);
  await qemuImg.createOverlay({ path: overlay, base, baseFormat: 'qcow2', sizeBytes: 2 ** 24 });
  const info = await qemuImg.info(overlay, 'qcow2');
  expect(info).toMatchObject({
    backingFile: base,
    virtualSizeBytes: 2 ** 24,
    encrypted: false,
    dataFile: undefined,
  });
  await qemuImg.resize(overlay, 'qcow2', 2 ** 25);
  expect((await qemuImg.info(overlay, 'qcow2', { live: true })).virtualSizeBytes).toBe(2 ** 25);
  expect(await qemuImg.check(base)).toMatchObject({ corruptions: 0, checkErrors: 0, leaks: 0 });
});

test('a failure leaves no image behind and says what qemu-img said', async () => {
  const overlay = path.join(folder, 'overlay.qcow2');
  const making = qemuImg.createOverlay({
    path: overlay,
    base: path.join(folder, 'none'),
    baseFormat: 'qcow2',
  });
  await expect(making).rejects.toMatchObject({
    reason: 'STORAGE_FAILED',
    message: expect.stringContaining('none'),
  });
  expect(existsSync(overlay)).toBe(false);
});

test('what a killed run left half made is overwritten', async () => {
  const file = path.join(folder, 'disk.qcow2');
  writeFileSync(`${file}.partial`, 'half');
  await qemuImg.create(file, 2 ** 20);
  expect(readdirSync(folder)).toEqual(['disk.qcow2']);
});

test('a run over its time, or its memory, is ended', async () => {
  const slow = path.join(folder, 'slow');
  writeFileSync(slow, '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 });
  const late = new QemuImg({ clock: systemClock, binary: slow, timeoutMs: 50 });
  await expect(late.create(path.join(folder, 'a'), 512)).rejects.toMatchObject({ reason: 'STORAGE_FAILED' });
  const tight = new QemuImg({ clock: systemClock, memoryBytes: 2 ** 20 });
  await expect(tight.create(path.join(folder, 'b'), 512)).rejects.toMatchObject({ reason: 'STORAGE_FAILED' });
});

test('without qemu-img the error says so', async () => {
  const none = new QemuImg({ clock: systemClock, binary: '/nowhere/qemu-img' });
  await expect(none.create(path.join(folder, 'a'), 512)).rejects.toMatchObject({
    reason: 'STORAGE_FAILED',
    message: expect.stringContaining('qemu-img'),
  });
});
