// Which Debian packages the guest is made of and by, each with its reason. Owner: deploy/guest.
// The set-up imports this to say what it installs, and why, before it does.

/** Installed on the machine that builds. `command` tells whether that was done already. */
export const installed = [
  { name: 'qemu-utils', command: 'qemu-img', reason: 'writes the guest disk as qcow2' },
  { name: 'mtools', command: 'mcopy', reason: 'fills the boot partition without mounting it' },
  { name: 'dosfstools', command: 'mkfs.fat', reason: 'makes the boot partition that the boot loader reads' },
  { name: 'e2fsprogs', command: 'mke2fs', reason: 'makes the data partition that keeps files over boots' },
];

/**
 * Downloaded and unpacked into the cache, never installed: a second kernel or busybox would get in the way
 * of what the machine has. `file` is what is taken out.
 */
export const unpacked = [
  {
    name: 'linux-image-cloud-amd64',
    file: 'boot/vmlinuz-*',
    reason: 'the kernel (a metapackage: the one it names)',
  },
  { name: 'busybox-static', file: 'bin/busybox', reason: 'all of the user space in one static binary' },
  { name: 'syslinux', file: 'usr/bin/syslinux', reason: 'the boot loader and its installer' },
  { name: 'syslinux-common', file: 'usr/lib/syslinux/mbr/mbr.bin', reason: 'the boot code of the disk' },
];
