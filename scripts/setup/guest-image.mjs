// The bootable guest image: whether it is there, and its building by deploy/guest, which owns how it is made.
// Owner: the tool chain. A stamp names the finished image and the inputs it was made from; it is written last.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { cache, repo, run } from './run.mjs';

const source = path.join(repo, 'deploy/guest');
const stampFile = path.join(cache, 'guest/.current');

function hashOfInputs() {
  const hash = createHash('sha256');
  const entries = fs.readdirSync(source, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.md'))
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .sort();
  for (const file of files) {
    hash
      .update(`${path.relative(source, file)}\0`)
      .update(fs.readFileSync(file))
      .update('\0');
  }
  return hash.digest('hex');
}

/** Absolute path of the image made from the present inputs, or nothing. */
export function guestImage() {
  if (!fs.existsSync(stampFile)) return undefined;
  const [hash, image = ''] = fs.readFileSync(stampFile, 'utf8').split('\n');
  return hash === hashOfInputs() && fs.existsSync(image) ? image : undefined;
}

export async function buildGuestImage() {
  const printed = await run(process.execPath, [path.join(source, 'build.mjs')], { log: 'guest.log' });
  const image = path.resolve(repo, printed.trimEnd().split('\n').pop() ?? '');
  if (!fs.existsSync(image)) throw new Error(`deploy/guest/build.mjs named no image: ${image}`);
  fs.writeFileSync(stampFile, `${hashOfInputs()}\n${image}`);
}
