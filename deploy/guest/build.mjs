#!/usr/bin/env node
// Builds the tiny bootable guest and prints the path of its qcow2 as the last line. Owner: deploy/guest.
// The name holds a digest of everything that went in: what is there is whole and is not built again.
// A build that dies leaves a folder `fresh-PID-*` in the cache, which nothing looks at and the next build removes.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageFiles, unpack } from './debian.mjs';
import { makeDisk } from './disk.mjs';
import { freshFolder } from './fresh.mjs';
import { packInitramfs } from './initramfs.mjs';
import { installed, unpacked } from './packages.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const usage = `usage: build.mjs [--out DIR]
  --out DIR   where the guest and its cache are kept (default: .cache/guest at the root of the repo)`;

/** Builds the guest unless it is there; returns the qcow2's path. `say` is told each phase. */
export function buildGuest({ out, say }) {
  if (process.arch !== 'x64')
    throw new Error(`the guest is built for amd64; this machine is ${process.arch}`);
  requireCommands();
  fs.mkdirSync(out, { recursive: true });
  say('packages: kernel, busybox and boot loader from Debian');
  const names = unpacked.map((wanted) => wanted.name);
  const debs = packageFiles(names, path.join(out, 'packages'));
  const guest = path.join(out, `nephos-guest-${digestOf(debs)}.qcow2`);
  if (fs.existsSync(guest)) {
    say('there already: nothing to build');
    return guest;
  }
  const work = freshFolder(out);
  say('unpack: into the cache, nothing is installed');
  const root = path.join(work, 'packages');
  for (const deb of debs) unpack(deb, root);
  const kernel = onlyFile(path.join(root, 'boot'), 'vmlinuz-');
  say(`initramfs: busybox and the modules of Linux ${kernel.version}`);
  const initramfs = packInitramfs({
    rootfs: path.join(here, 'rootfs'),
    busybox: path.join(root, 'bin/busybox'),
    modules: path.join(root, 'lib/modules', kernel.version),
  });
  say('disk: boot partition, data partition, boot loader, qcow2');
  const disk = makeDisk({
    work,
    files: {
      vmlinuz: fs.readFileSync(kernel.file),
      'initrd.gz': initramfs,
      'syslinux.cfg': fs.readFileSync(path.join(here, 'syslinux.cfg')),
    },
    syslinux: path.join(root, 'usr/bin/syslinux'),
    bootCode: fs.readFileSync(path.join(root, 'usr/lib/syslinux/mbr/mbr.bin')),
  });
  fs.renameSync(disk, guest);
  fs.rmSync(work, { recursive: true });
  say(`done: ${(fs.statSync(guest).size / 2 ** 20).toFixed(1)} MiB`);
  return guest;
}

function requireCommands() {
  const missing = installed.filter(({ command }) => !isCommand(command));
  if (missing.length === 0) return;
  const reasons = missing.map(({ name, reason }) => `  ${name}: ${reason}`).join('\n');
  throw new Error(
    `these packages are missing:\n${reasons}\nInstall them: apt-get install -y --no-install-recommends ` +
      missing.map(({ name }) => name).join(' '),
  );
}

function isCommand(command) {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return folders.some((folder) => fs.existsSync(path.join(folder, command)));
}

/** Twelve digits that change with the packages' versions and with any file of this folder that goes in. */
function digestOf(debs) {
  const hash = createHash('sha256');
  for (const deb of debs) hash.update(`${path.basename(deb)}\0`);
  const sources = fs.readdirSync(here, { recursive: true }).map(String).sort();
  for (const name of sources) {
    const file = path.join(here, name);
    if (name.endsWith('.md') || name.startsWith('test') || fs.statSync(file).isDirectory()) continue;
    hash.update(`${name}\0`).update(fs.readFileSync(file));
  }
  return hash.digest('hex').slice(0, 12);
}

function onlyFile(folder, prefix) {
  const name = fs.readdirSync(folder).find((file) => file.startsWith(prefix));
  if (!name) throw new Error(`the kernel package holds no ${prefix}*`);
  return { file: path.join(folder, name), version: name.slice(prefix.length) };
}

function main(args) {
  if (args.length > 0 && (args[0] !== '--out' || args.length !== 2)) {
    process.stderr.write(`${usage}\n`);
    return 2;
  }
  const out = path.resolve(args[1] ?? path.join(here, '../../.cache/guest'));
  const started = process.hrtime.bigint();
  const say = (text) => {
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    process.stderr.write(`guest ${seconds.toFixed(1)} s  ${text}\n`);
  };
  try {
    process.stdout.write(`${buildGuest({ out, say })}\n`);
    return 0;
  } catch (fault) {
    process.stderr.write(`guest: ${fault.message}\n${fault.stderr ?? ''}`);
    return 1;
  }
}

if (process.argv[1] && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = main(process.argv.slice(2));
}
