/** Who this agent is: an id minted once and kept beside its data, so that hosts find it again over restarts. */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { newUid } from '@nephos/service';
import { syncFolder, unlessMissing } from './files.ts';

export async function agentIdentity(folder: string, configured: string): Promise<string> {
  if (configured !== '') return configured;
  const file = path.join(folder, 'agent-id');
  // A file that is there and cannot be read just now is no reason to become somebody else.
  const known = (await unlessMissing(readFile(file, 'utf8')))?.trim() ?? '';
  if (known !== '') return known;
  await mkdir(folder, { recursive: true });
  const agentId = newUid();
  await using handle = await open(`${file}.new`, 'w');
  await handle.writeFile(`${agentId}\n`);
  await handle.sync();
  await rename(`${file}.new`, file);
  await syncFolder(folder);
  return agentId;
}
