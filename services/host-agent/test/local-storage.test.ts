/** Volumes and images on this host's disk, with the real qemu-img: two at once, broken transfers, a disk in trouble. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { QemuImg } from '@nephos/images';
import { newUid, systemClock } from '@nephos/service';
import { agentIdentity } from '../src/adapters/identity.ts';
import { ImageCache, type ReadTemplate } from '../src/adapters/local/image-cache.ts';
import { LocalVolumes } from '../src/adapters/local/volumes.ts';

const run = promisify(execFile);
const MiB = 2 ** 20;
const info = { name: 'qemu', version: '0', backendVersion: '', contractVersions: ['v1'], configSchema: '{}' };
let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'nephos-local-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A raw disk with a boot record. */
function rawDisk(): Buffer {
  const disk = Buffer.alloc(MiB, 7);
  disk.set([0x55, 0xaa], 510);
  return disk;
}

const shaOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function open(read: ReadTemplate) {
  const qemuImg = new QemuImg({ clock: systemClock });
  const closing = new AbortController();
  const images = new ImageCache(path.join(folder, 'templates'), read, qemuImg, closing.signal);
  const root = path.join(folder, 'volumes');
  const volumes = new LocalVolumes({ root, host: 'h', images, qemuImg, info });
  await volumes.prepare();
  return { images, volumes, root };
}

const serving = (bytes: Buffer, asked: number[] = []): ReadTemplate =>
  async function* read(_template, offset) {
    asked.push(offset);
    yield { data: bytes.subarray(offset) };
  };

const image = (bytes: Buffer, format: 'qcow2' | 'raw' = 'raw') => ({
  template: `templates/${newUid()}`,
  sha256: shaOf(bytes),
  sizeBytes: bytes.length,
  format,
});
const watch = () => ({ signal: new AbortController().signal, progress: () => undefined });

test('a create that is repeated while it runs makes one volume; the delete after it leaves none', async () => {
  const { volumes, root } = await open(serving(rawDisk()));
  const spec = { volumeUid: newUid(), sizeBytes: 8 * MiB, templateSha256: '' };
  const creates = [volumes.createVolume('h', spec), volumes.createVolume('h', spec)];
  const removal = volumes.deleteVolume('h', spec.volumeUid);
  for (const volume of await Promise.all(creates)) expect(volume.sizeBytes).toBe(BigInt(8 * MiB));
  await removal;
  expect(await readdir(root)).toEqual([]);
});

test('a recovery leaves the volume alone that is just being made', async () => {
  const { volumes } = await open(serving(rawDisk()));
  const spec = { volumeUid: newUid(), sizeBytes: 8 * MiB, templateSha256: '' };
  let making = true;
  const creation = volumes.createVolume('h', spec).finally(() => {
    making = false;
  });
  while (making) await volumes.recover();
  expect((await creation).managed).toBe(true);
});

test('a volume that cannot be looked at is not taken for missing and made anew', async () => {
  const { volumes, root } = await open(serving(rawDisk()));
  const volumeUid = newUid();
  // A link to itself cannot be opened (ELOOP), whoever asks.
  await symlink(path.join(root, `${volumeUid}.qcow2`), path.join(root, `${volumeUid}.qcow2`));
  await expect(volumes.createVolume('h', { volumeUid, sizeBytes: MiB, templateSha256: '' })).rejects.toThrow(
    /ELOOP/,
  );
  expect(await readdir(root)).toEqual([`${volumeUid}.qcow2`]);
});

test('an image asked for by many is fetched once, and kept as what it is, whatever was said of it', async () => {
  const disk = rawDisk();
  const asked: number[] = [];
  const { images } = await open(serving(disk, asked));
  const wanted = image(disk, 'qcow2');
  await Promise.all(Array.from({ length: 10 }, () => images.ensure(wanted, watch())));
  expect(asked).toEqual([0]);
  expect(await images.find(wanted.sha256)).toMatchObject({ format: 'raw' });
});

test('a partial file longer than the image is not resumed behind its end', async () => {
  const disk = rawDisk();
  const asked: number[] = [];
  const { images } = await open(serving(disk, asked));
  const wanted = image(disk);
  await writeFile(path.join(folder, 'templates', `${wanted.sha256}.partial`), Buffer.alloc(2 * MiB));
  await images.ensure(wanted, watch());
  expect(asked).toEqual([0]);
});

test('a disk larger than the standard limit is taken where the template service took it', async () => {
  const large = path.join(folder, 'large.qcow2');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', large, '3T']);
  const bytes = await readFile(large);
  const { images } = await open(serving(bytes));
  const wanted = image(bytes, 'qcow2');
  await images.ensure(wanted, watch());
  expect(await images.find(wanted.sha256)).toMatchObject({ format: 'qcow2' });
});

test('an image that is refused leaves nothing behind', async () => {
  const base = path.join(folder, 'base.raw');
  await writeFile(base, rawDisk());
  const hostile = path.join(folder, 'hostile.qcow2');
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', hostile]);
  const bytes = await readFile(hostile);
  const { images } = await open(serving(bytes));
  await expect(images.ensure(image(bytes, 'qcow2'), watch())).rejects.toMatchObject({
    reason: 'IMAGE_HAS_BACKING_FILE',
  });
  expect(await readdir(path.join(folder, 'templates'))).toEqual([]);
});

test('an agent whose id cannot be read does not become another one', async () => {
  const agentId = await agentIdentity(folder, '');
  expect(await agentIdentity(folder, '')).toBe(agentId);
  await rm(path.join(folder, 'agent-id'));
  await symlink('agent-id', path.join(folder, 'agent-id'));
  await expect(agentIdentity(folder, '')).rejects.toThrow(/ELOOP/);
});
