/**
 * Where a platform on this machine can be reached: a small file that its launcher writes once all is up, and that
 * programs look for from their working folder upward. A crash leaves the file behind; whoever reads it finds out
 * by calling.
 */
import { readFileSync, statSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Invalid } from '@nephos/service';

export interface Endpoints {
  /** The directory, `host:port`: knows where all others are. */
  readonly directory: string;
  /** The broker, `nats://host:port`. */
  readonly nats: string;
  /** File of credentials for the broker, readable by whoever may use them. */
  readonly natsCreds?: string | undefined;
  /** For people: service name to `host:port`. */
  readonly services: Readonly<Record<string, string>>;
}

/** The launcher's default folder, below the working folder. */
export const defaultDataFolder = '.nephos';
const fileName = 'endpoints.json';

export async function writeEndpoints(folder: string, endpoints: Endpoints): Promise<void> {
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, fileName);
  await writeFile(`${file}.new`, `${JSON.stringify(endpoints, null, 2)}\n`);
  await rename(`${file}.new`, file);
}

export async function removeEndpoints(folder: string): Promise<void> {
  await rm(path.join(folder, fileName), { force: true });
}

/** What the folder says; undefined without a file. Throws `Invalid` on a file that is none of ours. */
export function readEndpoints(folder: string): Endpoints | undefined {
  const file = path.join(folder, fileName);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  const { directory, nats, natsCreds, services } = parsed(text, file);
  if (typeof directory !== 'string' || typeof nats !== 'string') {
    throw new Invalid('FIELD_INVALID', `${file} does not say where the platform is`);
  }
  return { directory, nats, natsCreds, services: services ?? {} };
}

/**
 * Looks for `.nephos/endpoints.json` in the folder and all above it. What another user laid there, say in /tmp, is
 * passed over: it could lead every call, with all that is in it, to a stranger. `user`: whose files count.
 */
export function findEndpoints(from: string, user = process.getuid?.()): Endpoints | undefined {
  for (let folder = path.resolve(from); ; folder = path.dirname(folder)) {
    const data = path.join(folder, defaultDataFolder);
    const found = isOf(user, path.join(data, fileName)) ? readEndpoints(data) : undefined;
    if (found !== undefined || folder === path.dirname(folder)) return found;
  }
}

function isOf(user: number | undefined, file: string): boolean {
  try {
    const { uid } = statSync(file);
    return user === undefined || uid === user;
  } catch {
    return false;
  }
}

function parsed(text: string, file: string): Partial<Endpoints> {
  try {
    return JSON.parse(text) as Partial<Endpoints>;
  } catch (cause) {
    throw new Invalid('FIELD_INVALID', `${file} is not JSON`, { cause });
  }
}
