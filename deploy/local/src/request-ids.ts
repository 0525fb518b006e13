/**
 * Request ids of creations under way, kept in the data folder: a start that was cut off repeats its request under
 * the id that it had, so that nothing is made twice. Written before the request goes out, forgotten once its
 * outcome has been seen.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { newUid } from '@nephos/service';

export class RequestIds {
  readonly #file: string;
  readonly #ids: Map<string, string>;

  constructor(folder: string) {
    this.#file = path.join(folder, 'requests.json');
    this.#ids = new Map(Object.entries(readIds(this.#file)));
  }

  /** The id under which `what` is asked for. */
  of(what: string): string {
    const known = this.#ids.get(what);
    if (known !== undefined) return known;
    const minted = newUid();
    this.#ids.set(what, minted);
    this.#write();
    return minted;
  }

  forget(what: string): void {
    if (this.#ids.delete(what)) this.#write();
  }

  #write(): void {
    writeFileSync(`${this.#file}.new`, JSON.stringify(Object.fromEntries(this.#ids), null, 2));
    renameSync(`${this.#file}.new`, this.#file);
  }
}

function readIds(file: string): Record<string, string> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>;
  } catch {
    // None are under way; or the file was lost, and names are looked up before anything is made.
    return {};
  }
}
