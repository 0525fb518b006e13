/**
 * Where images may be read from: files that ship with the platform, and files below folders that the operator
 * named. Everything else is refused. Paths are hostile: links are resolved before they are judged, and what is
 * opened is the resolved file itself, never a link.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import path from 'node:path';
import { Invalid } from '@nephos/service';
import type { Source } from '../domain/template.ts';

const builtInName = /^[a-z0-9][a-z0-9-]{0,62}$/;
const longestPath = 4096;

export class Sources {
  readonly #builtIn: string;
  readonly #folders: readonly string[];

  /** `builtIn`: a folder of `{name}.qcow2`; empty for none. `folders`: absolute. */
  constructor(builtIn: string, folders: readonly string[]) {
    this.#builtIn = builtIn;
    this.#folders = folders;
  }

  /** The real path of a regular file. Throws `Invalid` IMAGE_SOURCE_REFUSED. */
  async locate(source: Source): Promise<string> {
    return source.kind === 'built-in' ? this.#builtInPath(source.name) : this.#allowedPath(source.path);
  }

  /** Opened for reading, without following a link or waiting for a pipe's writer. */
  async open(source: Source): Promise<FileHandle> {
    const file = await this.locate(source);
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(file, flags).catch((cause: unknown) => {
      throw refused(`${file} cannot be read`, cause);
    });
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    throw refused(`${file} is not a regular file`);
  }

  async #builtInPath(name: string): Promise<string> {
    if (this.#builtIn === '') throw refused('no built-in images are installed here');
    if (!builtInName.test(name))
      throw refused(`${JSON.stringify(name.slice(0, 63))} is not the name of a built-in image`);
    const file = path.join(this.#builtIn, `${name}.qcow2`);
    return realpath(file).catch((cause: unknown) => {
      throw refused(`there is no built-in image ${name}`, cause);
    });
  }

  async #allowedPath(asked: string): Promise<string> {
    if (!path.isAbsolute(asked) || asked.length > longestPath || asked.includes('\0')) {
      throw refused('the path must be absolute');
    }
    const allowed = `allowed are files below ${this.#folders.join(', ') || '(no folder is configured)'}`;
    const file = await realpath(asked).catch((cause: unknown) => {
      throw refused(`${asked} cannot be read; ${allowed}`, cause);
    });
    for (const folder of this.#folders) {
      const root = await realpath(folder).catch(() => undefined);
      if (root !== undefined && file.startsWith(root + path.sep)) return file;
    }
    throw refused(`${asked} lies outside; ${allowed}`);
  }
}

function refused(message: string, cause?: unknown): Invalid {
  return new Invalid('IMAGE_SOURCE_REFUSED', message, {
    fields: [{ field: 'source', description: message }],
    ...(cause !== undefined && { cause }),
  });
}
