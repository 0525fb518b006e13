// Packages for the examples in Python, which tests run: into .cache/python, where Python with pip is here.
// Owner: the tool chain. Never fails a set-up: without them those tests say that they did not run. A stamp, written
// last, holds what was done for which list.
import fs from 'node:fs';
import path from 'node:path';
import { hasCommand } from './debian-packages.mjs';
import { cache, repo, run } from './run.mjs';

const requirements = path.join(repo, 'scripts/setup/python/requirements.txt');
const folder = path.join(cache, 'python');
const stampFile = path.join(folder, '.current');
const longestMs = 240_000;

/** Whether there is something to get. */
export function pythonPackagesAreWanted() {
  if (!hasCommand('python3')) return false;
  return (
    !fs.existsSync(stampFile) || fs.readFileSync(stampFile, 'utf8') !== fs.readFileSync(requirements, 'utf8')
  );
}

/** Resolves in any case; what went wrong is told and lies in the log. */
export async function getPythonPackages() {
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  const args = ['-m', 'pip', 'install', '--quiet', '--target', folder, '--requirement', requirements];
  try {
    await run('python3', args, { log: 'python.log', longestMs });
  } catch (error) {
    console.log(`  no Python packages for tests: ${error.message.split('\n')[0]}`);
  }
  fs.writeFileSync(stampFile, fs.readFileSync(requirements));
}
