/**
 * The last known lists on disk, one JSON file a service under `<data>/directory`, so that a restarted process
 * can call others while the directory is away. Written whole to a temporary file and renamed: a crash leaves the
 * old file or the new. A file that does not parse is as if it were not there. Processes that share the folder
 * overwrite each other with equally good lists.
 */
import { readFileSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { hostAndPort, newUid } from '@nephos/service';

/** Replaces a file whole, making its folder. */
export async function replaceFile(file: string, text: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  const fresh = `${file}.${newUid()}.tmp`;
  try {
    await writeFile(fresh, text);
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}

/** The file's JSON array; empty where it is missing or does not parse. */
export function readArray(file: string): readonly unknown[] {
  try {
    const parsed: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return Array.isArray(parsed) ? parsed : [];
  } catch {
    return [];
  }
}

/** The instance, if it is one and calls can be made to its address: a file may have been edited. */
function reachable(item: unknown): readonly Instance[] {
  try {
    const instance = Instance.fromJSON(item);
    return hostAndPort(instance.address).port > 0 ? [instance] : [];
  } catch {
    return [];
  }
}

export class ListCache {
  readonly #folder: string;
  readonly #waiting = new Map<string, readonly Instance[]>();
  #writing: Promise<void> | undefined;
  #onFailure: (error: unknown) => void;

  constructor(folder: string, onFailure: (error: unknown) => void) {
    this.#folder = folder;
    this.#onFailure = onFailure;
  }

  read(service: string): readonly Instance[] {
    return readArray(this.#file(service)).flatMap(reachable);
  }

  /** Keeps the newest list of a service; of lists that come faster than the disk, the last. */
  keep(service: string, instances: readonly Instance[]): void {
    this.#waiting.set(service, instances);
    this.#writing ??= this.#writeAll();
  }

  /** Resolves when all that was kept is on disk. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.size > 0) await this.#write();
    this.#writing = undefined;
  }

  async #write(): Promise<void> {
    for (const [service, instances] of this.#waiting) {
      this.#waiting.delete(service);
      const text = JSON.stringify(instances.map((instance) => Instance.toJSON(instance)));
      await replaceFile(this.#file(service), text).catch(this.#onFailure);
    }
  }

  #file(service: string): string {
    return path.join(this.#folder, `${service}.json`);
  }
}
