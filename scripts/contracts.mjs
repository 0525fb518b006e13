// Holds the contracts against those published before: `node scripts/contracts.mjs check` fails for a change that
// would break a client built on them; `publish` records today's contracts as published.
// Owner: the tool chain. Published is what a release carried: proto/published.binpb, a buf image.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const repo = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const published = path.join(repo, 'proto/published.binpb');
/** Google's contracts come from npm: not ours to keep. */
const rules = '{"version":"v2","breaking":{"use":["FILE"],"ignore":["google"]}}';

function buf(...args) {
  execFileSync(path.join(repo, 'node_modules/.bin/buf'), args, { cwd: repo, stdio: 'inherit' });
}

/** Of two images, since a folder with several modules cannot be held against one image. */
function check(folder) {
  const today = path.join(folder, 'today.binpb');
  buf('build', 'proto', '--exclude-source-info', '-o', today);
  buf('breaking', today, '--against', published, '--config', rules);
}

function main(command) {
  if (command === 'publish') return buf('build', 'proto', '--exclude-source-info', '-o', published);
  if (command !== 'check') throw new Error('usage: node scripts/contracts.mjs check|publish');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nephos-contracts-'));
  try {
    check(folder);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

try {
  main(process.argv[2]);
} catch (error) {
  // buf has said what is wrong; anything else is ours to say.
  if (error.status === undefined) console.error(error.message);
  process.exit(1);
}
