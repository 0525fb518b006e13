/** Images made by the real qemu-img to harm or to mislead: each must be refused with its own reason. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { NephosError, systemClock } from '@nephos/service';
import { defaultImageLimits, inspectImage, QemuImg } from '../src/index.ts';

const qemuImg = new QemuImg({ clock: systemClock });
let folder: string;

const at = (name: string) => path.join(folder, name);

/** Fails with qemu-img's own words, and plainly where there is no qemu-img. */
function run(...args: string[]): void {
  execFileSync('qemu-img', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

async function patch(file: string, position: number, bytes: readonly number[]): Promise<void> {
  await using handle = await open(file, 'r+');
  await handle.write(Buffer.from(bytes), 0, bytes.length, position);
}

function copyOfGood(name: string): string {
  copyFileSync(at('good.qcow2'), at(name));
  return at(name);
}

async function reasonFor(file: string, limits = defaultImageLimits): Promise<string> {
  return await inspectImage(file, qemuImg, limits).then(
    (facts) => `taken as ${facts.format}`,
    (fault: unknown) => (fault instanceof NephosError ? fault.reason : String(fault)),
  );
}

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'images-'));
  const disk = Buffer.alloc(2 ** 20, 'data');
  disk.writeUInt16LE(0xaa55, 510);
  writeFileSync(at('good.raw'), disk);
  run('convert', '-f', 'raw', '-O', 'qcow2', at('good.raw'), at('good.qcow2'));
});

afterAll(() => rmSync(folder, { recursive: true }));

test('sound images are taken, with their facts', async () => {
  const fileSizeBytes = statSync(at('good.qcow2')).size;
  expect(await inspectImage(at('good.qcow2'), qemuImg)).toEqual({
    format: 'qcow2',
    fileSizeBytes,
    virtualSizeBytes: 2 ** 20,
  });
  expect(await inspectImage(at('good.raw'), qemuImg)).toEqual({
    format: 'raw',
    fileSizeBytes: 2 ** 20,
    virtualSizeBytes: 2 ** 20,
  });
});

test.each([
  ['version 2', ['-o', 'compat=0.10']],
  ['compressed', ['-c']],
  ['compressed with zstd', ['-c', '-o', 'compression_type=zstd']],
  ['small clusters', ['-o', 'cluster_size=512']],
  ['large clusters', ['-o', 'cluster_size=2M']],
  ['extended L2', ['-o', 'extended_l2=on']],
  ['lazy reference counts', ['-o', 'lazy_refcounts=on']],
])('a sound qcow2 is taken whatever its make: %s', async (name, options) => {
  const file = at(`${name.replaceAll(' ', '-')}.qcow2`);
  run('convert', '-f', 'raw', '-O', 'qcow2', ...options, at('good.raw'), file);
  expect(await reasonFor(file)).toBe('taken as qcow2');
});

test('an overlay over a file of the host', async () => {
  run('create', '-q', '-f', 'qcow2', '-u', '-b', '/etc/passwd', '-F', 'raw', at('backing.qcow2'), '1M');
  expect(await reasonFor(at('backing.qcow2'))).toBe('IMAGE_HAS_BACKING_FILE');
});

test('an overlay of version 2, whose header says less', async () => {
  const options = ['-o', 'compat=0.10', '-u', '-b', '/etc/passwd', '-F', 'raw'];
  run('create', '-q', '-f', 'qcow2', ...options, at('backing2.qcow2'), '1M');
  expect(await reasonFor(at('backing2.qcow2'))).toBe('IMAGE_HAS_BACKING_FILE');
});

test('data in another file', async () => {
  run(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    `data_file=${at('other')},data_file_raw=on`,
    at('data.qcow2'),
    '1M',
  );
  expect(await reasonFor(at('data.qcow2'))).toBe('IMAGE_HAS_DATA_FILE');
});

test('a data file that only the feature bit, or only the name, gives away', async () => {
  const bit = copyOfGood('bit.qcow2');
  await patch(bit, 79, [0x04]);
  expect(await reasonFor(bit)).toBe('IMAGE_HAS_DATA_FILE');
  const name = copyOfGood('name.qcow2');
  await patch(name, 112, [0x44, 0x41, 0x54, 0x41, 0, 0, 0, 8]);
  expect(await reasonFor(name)).toBe('IMAGE_HAS_DATA_FILE');
});

test('an encrypted image, and a LUKS volume', async () => {
  const secret = ['--object', 'secret,id=key,data=abcdefgh'];
  const options = 'encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10';
  run('create', '-q', '-f', 'qcow2', ...secret, '-o', options, at('encrypted.qcow2'), '1M');
  expect(await reasonFor(at('encrypted.qcow2'))).toBe('IMAGE_ENCRYPTED');
  run('create', '-q', '-f', 'luks', ...secret, '-o', 'key-secret=key,iter-time=10', at('volume.luks'), '1M');
  expect(await reasonFor(at('volume.luks'))).toBe('IMAGE_ENCRYPTED');
});

test.each([
  ['within the header', 60],
  ['within the extensions', 120],
  ['within the first cluster', 600],
  ['before its tables', 70_000],
  ['before half of its data', 700_000],
])('a qcow2 that ends %s', async (_where, length) => {
  const file = copyOfGood(`cut-${length}.qcow2`);
  truncateSync(file, length);
  expect(await reasonFor(file)).toBe('IMAGE_TRUNCATED');
});

test('an empty file, and a raw disk cut within a sector', async () => {
  writeFileSync(at('empty'), '');
  expect(await reasonFor(at('empty'))).toBe('IMAGE_TRUNCATED');
  copyFileSync(at('good.raw'), at('cut.raw'));
  truncateSync(at('cut.raw'), 100_000);
  expect(await reasonFor(at('cut.raw'))).toBe('IMAGE_TRUNCATED');
});

test.each(['vmdk', 'vdi', 'vpc', 'vhdx', 'qed'])(
  'a format that can name other files or is not taken: %s',
  async (format) => {
    run('convert', '-f', 'raw', '-O', format, at('good.raw'), at(`image.${format}`));
    expect(await reasonFor(at(`image.${format}`))).toBe('IMAGE_FORMAT_UNSUPPORTED');
  },
);

test('a VHD of fixed size, which begins like a raw disk', async () => {
  run(
    'convert',
    '-f',
    'raw',
    '-O',
    'vpc',
    '-o',
    'subformat=fixed,force_size',
    at('good.raw'),
    at('fixed.vhd'),
  );
  expect(await reasonFor(at('fixed.vhd'))).toBe('IMAGE_FORMAT_UNSUPPORTED');
});

test('a VMDK descriptor that names a file of the host', async () => {
  writeFileSync(
    at('text.vmdk'),
    '# Disk DescriptorFile\nversion=1\nRW 2048 FLAT "/etc/passwd" 0\n'.padEnd(1024),
  );
  expect(await reasonFor(at('text.vmdk'))).toBe('IMAGE_FORMAT_UNSUPPORTED');
});

test('a text file, a folder, and a file that is not there', async () => {
  writeFileSync(at('page.html'), '<html>404</html>'.padEnd(1024));
  expect(await reasonFor(at('page.html'))).toBe('IMAGE_FORMAT_UNSUPPORTED');
  expect(await reasonFor(folder)).toBe('IMAGE_SOURCE_REFUSED');
  expect(await reasonFor(at('nowhere'))).toBe('IMAGE_SOURCE_REFUSED');
});

test('a disk larger than allowed, in a file of a few clusters', async () => {
  run('create', '-q', '-f', 'qcow2', at('giant.qcow2'), '8T');
  expect(statSync(at('giant.qcow2')).size).toBeLessThan(2 ** 20);
  expect(await reasonFor(at('giant.qcow2'))).toBe('IMAGE_TOO_LARGE');
  const small = { virtualSizeBytes: 2 ** 30, fileSizeBytes: 1000 };
  expect(await reasonFor(at('good.raw'), small)).toBe('IMAGE_TOO_LARGE');
});

test.each([
  ['marked as corrupt', 79, [0x02], 'IMAGE_CORRUPT'],
  ['an unknown incompatible feature', 72, [0x80], 'IMAGE_FORMAT_UNSUPPORTED'],
  ['clusters of 2^40 bytes', 23, [40], 'IMAGE_CORRUPT'],
  ['a first table too small for the disk', 36, [0, 0, 0, 0], 'IMAGE_CORRUPT'],
  ['a first table beyond the file', 40, [0, 0, 0x10, 0, 0, 0, 0, 0], 'IMAGE_TRUNCATED'],
  ['an unaligned first table', 40, [0, 0, 0, 0, 0, 3, 0, 7], 'IMAGE_CORRUPT'],
  ['reference counts of nothing', 65_536, [0, 0, 0, 0, 0, 0, 0, 0], 'IMAGE_CORRUPT'],
  ['a version to come', 7, [4], 'IMAGE_FORMAT_UNSUPPORTED'],
])('a damaged or strange header: %s', async (name, position, bytes, reason) => {
  const file = copyOfGood(`${name.replaceAll(' ', '-')}.qcow2`);
  await patch(file, position, bytes);
  expect(await reasonFor(file)).toBe(reason);
});
