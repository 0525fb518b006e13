// The npm packages, installed by the one pnpm version that the lock file was made with.
// Owner: the tool chain. A stamp in node_modules holds the lock's hash and is written last: a crash in the
// middle of an installation leaves no stamp, and the next set-up installs again.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { repo, run } from './run.mjs';

const pnpm = 'pnpm@12.21.0';
const stampFile = path.join(repo, 'node_modules/.nephos-lock');

function hashOfLock() {
  const hash = createHash('sha256');
  for (const name of ['pnpm-lock.yaml', 'pnpm-workspace.yaml']) {
    hash.update(fs.readFileSync(path.join(repo, name)));
  }
  return hash.digest('hex');
}

export function nodeModulesAreCurrent() {
  return fs.existsSync(stampFile) && fs.readFileSync(stampFile, 'utf8') === hashOfLock();
}

export async function installNodeModules() {
  fs.rmSync(stampFile, { force: true });
  // CI keeps pnpm from asking questions that nobody is there to answer.
  await run('npx', ['--yes', pnpm, 'install', '--frozen-lockfile'], { log: 'pnpm.log', env: { CI: 'true' } });
  fs.writeFileSync(stampFile, hashOfLock());
}
