// Packs the guest's root file system: rootfs/ beside this file, busybox and the kernel modules it needs, as a
// gzipped cpio archive in the "newc" form (Linux Documentation/driver-api/early-userspace/buffer-format.rst).
// Owner: deploy/guest. Equal input gives equal bytes: fixed times, owners and order.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

/** Root disk, hot-plugged PCI, power button and its key events. Ext4, PCI and serial are built into the kernel. */
const wantedModules = ['virtio_pci', 'virtio_blk', 'button', 'evdev'];

const applets = (
  'acpid cat cut dd df dmesg echo expr free getty grep halt head hostname init insmod ip kill less ls lsmod ' +
  'mkdir mount poweroff printf ps reboot rm sh sleep stty sync tail top touch tr umount uname uptime vi wc'
).split(' ');
const inSbin = new Set(['acpid', 'halt', 'init', 'insmod', 'poweroff', 'reboot']);

const types = { folder: 0o040000, file: 0o100000, link: 0o120000, device: 0o020000 };

export function packInitramfs({ rootfs, busybox, modules }) {
  const entries = [
    ...['bin', 'sbin', 'dev', 'proc', 'sys', 'data', 'root', 'tmp', 'lib', 'lib/modules'].map(folder),
    { name: 'dev/console', mode: types.device | 0o600, device: [5, 1] },
    ...filesBelow(rootfs),
    { name: 'bin/busybox', mode: types.file | 0o755, data: readFileSync(busybox) },
    ...applets.map((name) => link(`${inSbin.has(name) ? 'sbin' : 'bin'}/${name}`, '/bin/busybox')),
    link('init', '/sbin/init'),
    ...moduleEntries(modules),
  ];
  return gzipSync(cpio(entries), { level: 9 });
}

function folder(name) {
  return { name, mode: types.folder | 0o755 };
}

function link(name, target) {
  return { name, mode: types.link | 0o777, data: Buffer.from(target) };
}

function filesBelow(root, below = '') {
  return readdirSync(path.join(root, below))
    .sort()
    .flatMap((entry) => {
      const name = path.posix.join(below, entry);
      const full = path.join(root, name);
      if (statSync(full).isDirectory()) return [folder(name), ...filesBelow(root, name)];
      const data = readFileSync(full);
      const executable = data.subarray(0, 2).toString() === '#!';
      return [{ name, mode: types.file | (executable ? 0o755 : 0o644), data }];
    });
}

/** The wanted modules and what they depend on, in loading order, and that order as a file. */
function moduleEntries(root) {
  const files = new Map(
    readdirSync(root, { recursive: true })
      .filter((file) => file.endsWith('.ko'))
      .map((file) => [moduleName(file), path.join(root, file)]),
  );
  const ordered = new Map();
  const load = (name) => {
    const file = files.get(name);
    // What the kernel has built in is no file.
    if (!file || ordered.has(name)) return;
    const data = readFileSync(file);
    for (const dependency of dependenciesOf(data)) load(dependency);
    ordered.set(name, data);
  };
  for (const name of wantedModules) load(name);
  const order = [...ordered.keys()].map((name) => `${name}.ko\n`).join('');
  return [
    ...[...ordered].map(([name, data]) => ({
      name: `lib/modules/${name}.ko`,
      mode: types.file | 0o644,
      data,
    })),
    { name: 'lib/modules/order', mode: types.file | 0o644, data: Buffer.from(order) },
  ];
}

function moduleName(file) {
  return path.basename(file, '.ko').replaceAll('-', '_');
}

/** A module names what it needs in its own `.modinfo` section. */
function dependenciesOf(module) {
  const start = module.indexOf('\0depends=');
  if (start < 0) return [];
  const text = module.subarray(start + 9, module.indexOf(0, start + 9)).toString();
  return text.split(',').filter(Boolean).map(moduleName);
}

function cpio(entries) {
  const parts = entries.map((entry, index) => cpioEntry(entry, index + 1));
  return Buffer.concat([...parts, cpioEntry({ name: 'TRAILER!!!', mode: 0 }, 0)]);
}

function cpioEntry({ name, mode, data = Buffer.alloc(0), device = [0, 0] }, inode) {
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, device[0], device[1], name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
  return Buffer.concat([padded(Buffer.from(header)), padded(data)]);
}

function padded(data) {
  return Buffer.concat([data, Buffer.alloc((4 - (data.length % 4)) % 4)]);
}
