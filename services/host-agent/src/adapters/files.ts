/** Files, as careful as records need them: what is missing is told from what fails, and names are durable. */
import { open } from 'node:fs/promises';

export function isErrno(fault: unknown, code: string): boolean {
  return typeof fault === 'object' && fault !== null && 'code' in fault && fault.code === code;
}

/** Undefined for a file that is not there. Any other trouble proves nothing, and is thrown. */
export async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (fault) {
    if (isErrno(fault, 'ENOENT')) return undefined;
    throw fault;
  }
}

/** Makes what was created, renamed or removed in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, 'r');
  await handle.sync();
}
