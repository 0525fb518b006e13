/**
 * Secrets in files: seeds and credentials, each made once and readable by its owner alone.
 * Owner: whoever starts the broker. Invariants: a file is whole or not there; what is there is never replaced
 * unless it fits nothing any more. A crash leaves at most a temporary file beside it.
 */
import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

const ownerOnly = 0o600;
const folderMode = 0o700;

/** The file's text; undefined where there is none. */
export async function readSecret(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What the file holds, or what `make` gives, written first. Of two that make it at once, both get the same. */
export async function madeOnce(file: string, make: () => string): Promise<string> {
  const there = await readSecret(file);
  if (there !== undefined) return there;
  const temporary = await writeTemporary(file, make());
  try {
    await link(temporary, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  return await readFile(file, 'utf8');
}

/** Writes the file anew, in one step. */
export async function writeSecret(file: string, text: string): Promise<void> {
  await rename(await writeTemporary(file, text), file);
}

async function writeTemporary(file: string, text: string): Promise<string> {
  await mkdir(path.dirname(file), { recursive: true, mode: folderMode });
  const temporary = `${file}.${randomBytes(6).toString('hex')}`;
  await writeFile(temporary, text, { mode: ownerOnly, flag: 'wx', flush: true });
  return temporary;
}
