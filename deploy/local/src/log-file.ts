/** A process's log on disk, bounded: one that has grown too long makes way, and the one before it is dropped. */
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';

const longest = 8 * 2 ** 20;
const remembered = 4096;

export class LogFile implements Disposable {
  readonly path: string;
  #file: number;
  #size: number;
  #tail = '';

  constructor(path: string) {
    this.path = path;
    this.#file = openSync(path, 'a', 0o600);
    this.#size = fstatSync(this.#file).size;
  }

  write(text: string): void {
    if (this.#size > longest) this.#rotate();
    this.#size += writeSync(this.#file, text);
    this.#tail = (this.#tail + text).slice(-remembered);
  }

  /** The last lines written by this process. */
  lastLines(count: number): string[] {
    return this.#tail.trimEnd().split('\n').slice(-count);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  #rotate(): void {
    closeSync(this.#file);
    renameSync(this.path, `${this.path}.1`);
    this.#file = openSync(this.path, 'a', 0o600);
    this.#size = 0;
  }
}
