// Fetches Debian packages into the cache and unpacks them there, installing nothing. Owner: deploy/guest.
// A package is one immutable file of the cache, and what the cache holds is not asked for again (remove it for
// newer versions); a half-made download is left in a folder `fresh-PID-*`, which the next one removes.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { freshFolder } from './fresh.mjs';

function run(command, args, options = {}) {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });
}

/** The package file of each name, in that order; what the cache lacks is downloaded. */
export function packageFiles(names, cache) {
  fs.mkdirSync(cache, { recursive: true });
  if (names.some((name) => !cachedFile(name, cache))) {
    try {
      download(names, cache);
    } catch (fault) {
      throw new Error(
        `Debian's packages could not be fetched: ${String(fault.stderr || fault.message).trim()}\n` +
          'The guest is made of amd64 packages of Debian 12 or later. Run "apt-get update" as root first, or ' +
          'build the guest on a Debian machine and copy the qcow2.',
      );
    }
  }
  return names.map((name) => cachedFile(name, cache));
}

/** A kernel's metapackage is kept as the package that it names: `linux-image-6.1.0-56-cloud-amd64_….deb`. */
function cachedFile(name, cache) {
  const isKernel = name.startsWith('linux-image-');
  const prefix = isKernel ? /^linux-image-\d/ : new RegExp(`^${name}_`);
  const found = fs.readdirSync(cache).filter((file) => prefix.test(file) && file.endsWith('.deb'));
  return found[0] && path.join(cache, found.sort().at(-1));
}

function download(names, cache) {
  const fresh = freshFolder(cache);
  const download = () => {
    const real = names.filter((name) => !cachedFile(name, cache)).map(realPackage);
    // As root apt would hand the download to a user who may not write here.
    run('apt-get', ['download', '-qq', '-o', 'APT::Sandbox::User=root', ...real], { cwd: fresh });
  };
  try {
    download();
  } catch (fault) {
    if (process.getuid() !== 0) throw fault;
    run('apt-get', ['update', '-qq']);
    download();
  }
  for (const file of fs.readdirSync(fresh)) fs.renameSync(path.join(fresh, file), path.join(cache, file));
  fs.rmSync(fresh, { recursive: true });
}

function realPackage(name) {
  if (!name.startsWith('linux-image-')) return name;
  const depends = run('apt-cache', ['depends', '--important', name]).match(/Depends: (linux-image-\d\S*)/);
  return depends?.[1] ?? name;
}

export function unpack(file, folder) {
  run('dpkg-deb', ['-x', file, folder]);
}
