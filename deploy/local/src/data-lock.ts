/**
 * One launcher a data folder. The lock is the kernel's, held through an open SQLite file: a crash lets go of it
 * and leaves only a file that says nothing.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Precondition } from '@nephos/service';

/** Throws `Precondition` when another process holds the folder. Disposing lets go. */
export function lockData(data: string): Disposable {
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const ownerFile = path.join(data, 'launcher.pid');
  const lock = new DatabaseSync(path.join(data, 'launcher.lock'));
  try {
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (cause) {
    lock.close();
    const owner = `process ${readOwner(ownerFile)}`;
    throw new Precondition(
      'RESOURCE_IN_USE',
      `${data} is in use: Nephos runs on it already (${owner}). Stop that one, or give this one another --data`,
      { cause },
    );
  }
  writeFileSync(ownerFile, `${process.pid}\n`);
  return { [Symbol.dispose]: () => lock.close() };
}

function readOwner(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return 'unknown';
  }
}
