/**
 * Volumes on this host's disk: qcow2 files, over a template's image or empty. Owner: the host agent.
 * A volume appears whole under its name or not at all (libs/images writes beside it and renames), so a crash
 * leaves at most a `.partial` file, which `recover` removes. Work on one volume is done one after the other, so that
 * a create whose caller gave up neither meets its repeat nor outlives the delete that came after it.
 */
import { access, mkdir, readdir, rm, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import type { ImageInfo, QemuImg } from '@nephos/images';
import { KeyedQueue, type StorageDriver, type TemplateImage, type VolumeSpec } from '@nephos/plugin';
import type { PluginInfo } from '@nephos/proto/nephos/plugin/v1/plugin';
import type { StorageCapabilities, StoredVolume } from '@nephos/proto/nephos/plugin/v1/storage';
import { isUid, notFound, Precondition } from '@nephos/service';
import { syncFolder, unlessMissing } from '../files.ts';
import type { DiskImage } from '../qemu/index.ts';
import type { ImageCache } from './image-cache.ts';

export interface LocalVolumesOptions {
  readonly root: string;
  readonly host: string;
  readonly images: ImageCache;
  readonly qemuImg: QemuImg;
  readonly info: PluginInfo;
}

const suffix = '.qcow2';
/** What `stat` counts in, whatever the file system's own blocks are. */
const blockBytes = 512;

export class LocalVolumes implements StorageDriver {
  readonly info: PluginInfo;
  readonly #root: string;
  readonly #host: string;
  readonly #images: ImageCache;
  readonly #qemuImg: QemuImg;
  readonly #queue = new KeyedQueue();
  /** Names of partial files that are being written. */
  readonly #making = new Set<string>();

  constructor({ root, host, images, qemuImg, info }: LocalVolumesOptions) {
    this.#root = root;
    this.#host = host;
    this.#images = images;
    this.#qemuImg = qemuImg;
    this.info = info;
  }

  async prepare(): Promise<void> {
    await mkdir(this.#root, { recursive: true });
    await this.#images.prepare();
    await this.recover();
  }

  async capabilities(): Promise<readonly StorageCapabilities[]> {
    const { blocks, bavail, bsize } = await statfs(this.#root);
    return [{ host: this.#host, totalBytes: BigInt(blocks * bsize), freeBytes: BigInt(bavail * bsize) }];
  }

  ensureTemplate(
    _host: string,
    image: TemplateImage,
    options: { readonly signal: AbortSignal; progress(presentBytes: number): void },
  ): Promise<void> {
    return this.#images.ensure(image, options);
  }

  createVolume(_host: string, spec: VolumeSpec): Promise<StoredVolume> {
    const { volumeUid, sizeBytes, templateSha256 } = spec;
    return this.#queue.run(volumeUid, async () => {
      const present = await this.#read(volumeUid);
      if (present !== undefined) return asAsked(present, sizeBytes, templateSha256);
      await this.#make(spec);
      return this.getVolume(this.#host, volumeUid);
    });
  }

  deleteVolume(_host: string, volumeUid: string): Promise<void> {
    return this.#queue.run(volumeUid, async () => {
      await rm(this.#path(volumeUid), { force: true });
      await syncFolder(this.#root);
    });
  }

  async getVolume(_host: string, volumeUid: string): Promise<StoredVolume> {
    const volume = await this.#read(volumeUid);
    if (volume === undefined) throw notFound('volumes', volumeUid);
    return volume;
  }

  /** One after the other: each is read by a program of its own. */
  async listVolumes(): Promise<readonly StoredVolume[]> {
    const volumes: StoredVolume[] = [];
    for (const uid of await this.#uids()) {
      const volume = await this.#read(uid);
      if (volume !== undefined) volumes.push({ ...volume, managed: isUid(uid) });
    }
    return volumes;
  }

  /** Bytes that volumes take of the disk now. */
  async usedBytes(): Promise<number> {
    let used = 0;
    for (const uid of await this.#uids()) {
      const there = await unlessMissing(stat(this.#path(uid)));
      used += (there?.blocks ?? 0) * blockBytes;
    }
    return used;
  }

  async recover(): Promise<number> {
    const partial = (await readdir(this.#root)).filter(
      (name) => name.endsWith('.partial') && !this.#making.has(name),
    );
    for (const name of partial) await rm(path.join(this.#root, name), { force: true });
    return partial.length + (await this.#images.removePartial());
  }

  /** A volume and what lies under it, as QEMU is told. Throws `NotFound`. */
  async diskImage(volumeUid: string): Promise<DiskImage> {
    const { templateSha256 } = await this.getVolume(this.#host, volumeUid);
    const volume = { path: this.#path(volumeUid), format: 'qcow2' } as const;
    if (templateSha256 === '') return volume;
    const base = await this.#images.find(templateSha256);
    if (base === undefined) throw missingImage(templateSha256);
    return { ...volume, backing: base };
  }

  async #uids(): Promise<string[]> {
    const names = (await readdir(this.#root)).filter((name) => name.endsWith(suffix));
    return names.map((name) => name.slice(0, -suffix.length));
  }

  async #make({ volumeUid, sizeBytes, templateSha256 }: VolumeSpec): Promise<void> {
    const partial = `${volumeUid}${suffix}.partial`;
    this.#making.add(partial);
    try {
      if (templateSha256 === '') await this.#qemuImg.create(this.#path(volumeUid), sizeBytes);
      else await this.#overlay(volumeUid, sizeBytes, templateSha256);
    } finally {
      this.#making.delete(partial);
    }
  }

  async #overlay(volumeUid: string, sizeBytes: number, templateSha256: string): Promise<void> {
    const base = await this.#images.find(templateSha256);
    if (base === undefined) throw missingImage(templateSha256);
    const { virtualSizeBytes } = await this.#qemuImg.info(base.path, base.format, { live: true });
    if (sizeBytes < virtualSizeBytes) {
      throw new Precondition(
        'STORAGE_FAILED',
        `the volume must have at least the template's ${virtualSizeBytes} bytes`,
      );
    }
    await this.#qemuImg.createOverlay({
      path: this.#path(volumeUid),
      base: base.path,
      baseFormat: base.format,
      sizeBytes,
    });
  }

  async #read(volumeUid: string): Promise<StoredVolume | undefined> {
    const file = this.#path(volumeUid);
    if ((await unlessMissing(access(file).then(() => true))) === undefined) return undefined;
    const info = await this.#qemuImg.info(file, 'qcow2', { live: true });
    return this.#stored(volumeUid, info);
  }

  #stored(volumeUid: string, { virtualSizeBytes, actualSizeBytes, backingFile }: ImageInfo): StoredVolume {
    return {
      volumeUid,
      host: this.#host,
      sizeBytes: BigInt(virtualSizeBytes),
      usedBytes: BigInt(actualSizeBytes),
      templateSha256: backingFile === undefined ? '' : path.parse(backingFile).name,
      managed: true,
    };
  }

  #path(volumeUid: string): string {
    return path.join(this.#root, `${volumeUid}${suffix}`);
  }
}

function asAsked(volume: StoredVolume, sizeBytes: number, templateSha256: string): StoredVolume {
  if (volume.sizeBytes === BigInt(sizeBytes) && volume.templateSha256 === templateSha256) return volume;
  const text = `volume ${volume.volumeUid} is there already with another size or template`;
  throw new Precondition('STATE_FORBIDS', text, { metadata: { volume: volume.volumeUid } });
}

function missingImage(sha256: string): Precondition {
  return new Precondition(
    'STORAGE_FAILED',
    `the image ${sha256} is not on this host: ensure the template first`,
  );
}
