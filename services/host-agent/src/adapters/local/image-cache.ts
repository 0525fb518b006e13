/**
 * Images of templates on this host, by content, fetched once each. Owner: the host agent.
 * `<root>/<sha256>.<format>` is whole, checked and never written to again, for volumes lie over it; `.partial` is
 * what a broken transfer left, and is taken up where it ended. A crash leaves only that.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { type ImageFacts, inspectImage, type QemuImg } from '@nephos/images';
import type { TemplateImage } from '@nephos/plugin';
import { Invalid, Unavailable } from '@nephos/service';
import { syncFolder, unlessMissing } from '../files.ts';

/** The image's bytes from an offset on. */
export type ReadTemplate = (
  template: string,
  offset: number,
  signal: AbortSignal,
) => AsyncIterable<{ readonly data: Uint8Array }>;

interface Flight {
  readonly done: Promise<void>;
  readonly watchers: Set<(presentBytes: number) => void>;
}

export class ImageCache {
  readonly #root: string;
  readonly #read: ReadTemplate;
  readonly #qemuImg: QemuImg;
  readonly #closing: AbortSignal;
  readonly #flights = new Map<string, Flight>();

  /** `closing`: aborted when the agent stops; transfers then end, to be taken up later. */
  constructor(root: string, read: ReadTemplate, qemuImg: QemuImg, closing: AbortSignal) {
    this.#root = root;
    this.#read = read;
    this.#qemuImg = qemuImg;
    this.#closing = closing;
  }

  async prepare(): Promise<void> {
    await mkdir(this.#root, { recursive: true });
  }

  /** The image with that content, if it is here. */
  async find(
    sha256: string,
  ): Promise<{ readonly path: string; readonly format: 'qcow2' | 'raw' } | undefined> {
    for (const format of ['qcow2', 'raw'] as const) {
      const file = this.#path(sha256, format);
      if ((await sizeOf(file)) !== undefined) return { path: file, format };
    }
    return undefined;
  }

  /** Returns once it is here. Callers that ask for the same image share one transfer, which outlives each of them. */
  async ensure(
    image: TemplateImage,
    { signal, progress }: { readonly signal: AbortSignal; progress(presentBytes: number): void },
  ): Promise<void> {
    if ((await this.find(image.sha256)) !== undefined) return progress(image.sizeBytes);
    const flight = this.#flights.get(image.sha256) ?? this.#start(image);
    flight.watchers.add(progress);
    try {
      await unlessAborted(flight.done, signal);
    } finally {
      flight.watchers.delete(progress);
    }
  }

  /** Removes what broken transfers left; says how many. */
  async removePartial(): Promise<number> {
    const partial = (await readdir(this.#root)).filter((name) => name.endsWith('.partial'));
    const idle = partial.filter((name) => !this.#flights.has(name.slice(0, 64)));
    for (const name of idle) await rm(path.join(this.#root, name), { force: true });
    return idle.length;
  }

  #path(sha256: string, format: 'qcow2' | 'raw'): string {
    return path.join(this.#root, `${sha256}.${format}`);
  }

  #start(image: TemplateImage): Flight {
    const watchers = new Set<(presentBytes: number) => void>();
    const tell = (bytes: number): void => {
      for (const watcher of watchers) watcher(bytes);
    };
    const done = this.#fetch(image, tell).finally(() => this.#flights.delete(image.sha256));
    done.catch(() => undefined);
    const flight = { done, watchers };
    this.#flights.set(image.sha256, flight);
    return flight;
  }

  async #fetch(image: TemplateImage, tell: (bytes: number) => void): Promise<void> {
    // It may have arrived between the caller's look and this flight.
    if ((await this.find(image.sha256)) !== undefined) return;
    const partial = path.join(this.#root, `${image.sha256}.partial`);
    if (((await sizeOf(partial)) ?? 0) > image.sizeBytes) await rm(partial);
    const present = (await sizeOf(partial)) ?? 0;
    const hash = createHash('sha256');
    if (present > 0) await hashFile(partial, hash);
    await using file = await open(partial, 'a', 0o600);
    const length = await this.#append(image, { file, hash, present }, tell);
    const sha256 = hash.digest('hex');
    if (length !== image.sizeBytes || sha256 !== image.sha256) {
      await rm(partial, { force: true });
      const got = `${length} bytes with SHA-256 ${sha256}`;
      throw new Unavailable(
        'STORAGE_FAILED',
        `${image.template} arrived damaged (${got}); it is fetched anew`,
      );
    }
    await file.sync();
    const { format } = await this.#inspect(partial, image);
    await rename(partial, this.#path(image.sha256, format));
    await syncFolder(this.#root);
  }

  /** What is refused once is refused always: it is not kept. The format is what the image is, whatever was said. */
  async #inspect(partial: string, { sizeBytes }: TemplateImage): Promise<ImageFacts> {
    try {
      // How large a disk may be the template service decided when it took the image.
      const limits = { fileSizeBytes: sizeBytes, virtualSizeBytes: Number.MAX_SAFE_INTEGER };
      return await inspectImage(partial, this.#qemuImg, limits);
    } catch (error) {
      if (error instanceof Invalid) await rm(partial, { force: true });
      throw error;
    }
  }

  async #append(
    image: TemplateImage,
    { file, hash, present }: { readonly file: FileHandle; readonly hash: Hash; readonly present: number },
    tell: (bytes: number) => void,
  ): Promise<number> {
    let length = present;
    for await (const { data } of this.#read(image.template, present, this.#closing)) {
      if (length + data.length > image.sizeBytes) return length + data.length;
      await file.writeFile(data);
      hash.update(data);
      length += data.length;
      tell(length);
    }
    return length;
  }
}

async function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function hashFile(file: string, hash: Hash): Promise<void> {
  for await (const piece of createReadStream(file)) hash.update(piece as Buffer);
}

async function sizeOf(file: string): Promise<number | undefined> {
  return (await unlessMissing(stat(file)))?.size;
}
