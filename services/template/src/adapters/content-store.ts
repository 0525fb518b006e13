/**
 * Images by content: `images/{sha256}` holds each only once, `partial/{template uid}` what an import has read so
 * far, `fetched/{sha256}` what has come from another instance. Owner: one instance of the template service. A file under
 * `images` is whole, synced and named by what it holds; a crash leaves at most a partial file, which the import takes up
 * again or the sweeper removes, or a fetched one, which is gone on with.
 */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { Invalid, NotFound, Unavailable } from '@nephos/service';

const pieceBytes = 2 ** 20;

export interface Copied {
  readonly sha256: string;
  readonly sizeBytes: number;
}

export class ContentStore {
  readonly #images: string;
  readonly #partial: string;
  readonly #fetched: string;
  /** Partial files that this process wrote to their end: template uid, and the hash of what they hold. */
  readonly #whole = new Map<string, string>();
  #last: Promise<void> = Promise.resolve();

  private constructor(root: string) {
    this.#images = path.join(root, 'images');
    this.#partial = path.join(root, 'partial');
    this.#fetched = path.join(root, 'fetched');
  }

  static async open(root: string): Promise<ContentStore> {
    const store = new ContentStore(root);
    await mkdir(store.#images, { recursive: true });
    await mkdir(store.#partial, { recursive: true });
    await mkdir(store.#fetched, { recursive: true });
    return store;
  }

  partialPath(uid: string): string {
    return path.join(this.#partial, uid);
  }

  imagePath(sha256: string): string {
    return path.join(this.#images, sha256);
  }

  /**
   * Copies and hashes in one pass, anew each time; synced when it returns. Throws `Invalid` IMAGE_TOO_LARGE: a source
   * may have grown since it was looked at, or grow as fast as it is read.
   */
  async copy(
    from: FileHandle,
    uid: string,
    options: { readonly signal: AbortSignal; readonly mostBytes: number; progress(bytes: number): void },
  ): Promise<Copied> {
    const hash = createHash('sha256');
    this.#whole.delete(uid);
    await using to = await open(this.partialPath(uid), 'w', 0o600);
    const piece = Buffer.allocUnsafe(pieceBytes);
    let sizeBytes = 0;
    for (;;) {
      options.signal.throwIfAborted();
      const { bytesRead } = await from.read(piece, 0, pieceBytes, sizeBytes);
      if (bytesRead === 0) break;
      if (sizeBytes + bytesRead > options.mostBytes) {
        throw new Invalid(
          'IMAGE_TOO_LARGE',
          `The image file has more than the ${options.mostBytes} bytes allowed.`,
        );
      }
      const data = piece.subarray(0, bytesRead);
      hash.update(data);
      await to.writeFile(data);
      sizeBytes += bytesRead;
      options.progress(sizeBytes);
    }
    await to.sync();
    const sha256 = hash.digest('hex');
    this.#whole.set(uid, sha256);
    return { sha256, sizeBytes };
  }

  /** The image is on this disk. */
  has(sha256: string): Promise<boolean> {
    return exists(this.imagePath(sha256));
  }

  /** The import's partial file on this disk is whole and holds just that. */
  hasPartial(uid: string, sha256: string): boolean {
    return this.#whole.get(uid) === sha256;
  }

  /** Makes the partial file the image. Done already is success; what is there already wins. */
  keep(uid: string, sha256: string): Promise<void> {
    return this.#exclusively(async () => {
      if (await exists(this.imagePath(sha256))) return this.discard(uid);
      await rename(this.partialPath(uid), this.imagePath(sha256));
      this.#whole.delete(uid);
      await syncFolder(this.#images);
    });
  }

  /**
   * Takes an image from elsewhere, going on where an earlier try stopped; `read` gives its bytes from an offset on.
   * Throws `Invalid` CHECKSUM_MISMATCH, having kept nothing, where the bytes are others; whatever `read` throws.
   */
  async fetch(
    { sha256, sizeBytes }: Copied,
    read: (offset: number) => AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const file = path.join(this.#fetched, sha256);
    const hash = createHash('sha256');
    let at = await hashFile(file, hash);
    if (at < sizeBytes) {
      await using to = await open(file, 'a', 0o600);
      for await (const data of read(at)) {
        at += data.length;
        if (at > sizeBytes) break;
        hash.update(data);
        await to.writeFile(data);
      }
      await to.sync();
    }
    // Less: the source ended early; the next try goes on.
    if (at < sizeBytes)
      throw new Unavailable('STORAGE_FAILED', `only ${at} bytes of the image ${sha256} came`);
    if (at > sizeBytes || hash.digest('hex') !== sha256) {
      await rm(file, { force: true });
      throw new Invalid('CHECKSUM_MISMATCH', `what came for the image ${sha256} is something else`);
    }
    await this.#exclusively(async () => {
      await rename(file, this.imagePath(sha256));
      await syncFolder(this.#images);
    });
  }

  /** Images of which a part has been fetched. */
  fetches(): Promise<string[]> {
    return readdir(this.#fetched);
  }

  async discardFetch(sha256: string): Promise<void> {
    await rm(path.join(this.#fetched, sha256), { force: true });
  }

  async discard(uid: string): Promise<void> {
    this.#whole.delete(uid);
    await rm(this.partialPath(uid), { force: true });
  }

  /** Removes an image if `isUnused` says so; none is kept meanwhile. */
  removeIf(sha256: string, isUnused: () => Promise<boolean>): Promise<void> {
    return this.#exclusively(async () => {
      if (!(await isUnused())) return;
      await rm(this.imagePath(sha256), { force: true });
      await syncFolder(this.#images);
    });
  }

  /** Pieces of at most 1 MiB, read as they are asked for. `length` 0 reads to the end. */
  async *read(
    sha256: string,
    offset: number,
    length: number,
  ): AsyncGenerator<{ offset: number; data: Buffer }> {
    const handle = await open(this.imagePath(sha256), 'r').catch((cause: unknown) => {
      throw new NotFound('RESOURCE_NOT_FOUND', `the image ${sha256} is not here`, { cause });
    });
    await using _closing = handle;
    const end = length === 0 ? Number.POSITIVE_INFINITY : offset + length;
    for (let at = offset; at < end; ) {
      const piece = Buffer.allocUnsafe(Math.min(pieceBytes, end - at));
      const { bytesRead } = await handle.read(piece, 0, piece.length, at);
      if (bytesRead === 0) return;
      yield { offset: at, data: piece.subarray(0, bytesRead) };
      at += bytesRead;
    }
  }

  images(): Promise<string[]> {
    return readdir(this.#images);
  }

  partials(): Promise<string[]> {
    return readdir(this.#partial);
  }

  /** One at a time: an image must not vanish between being found and being referred to. */
  #exclusively(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}

/** Feeds what the file holds to the hash, and gives its length; 0 where there is none. */
async function hashFile(file: string, hash: Hash): Promise<number> {
  if (!(await exists(file))) return 0;
  await using handle = await open(file, 'r');
  const piece = Buffer.allocUnsafe(pieceBytes);
  for (let at = 0; ; ) {
    const { bytesRead } = await handle.read(piece, 0, pieceBytes, at);
    if (bytesRead === 0) return at;
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}

async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, 'r');
  await handle.sync();
}
