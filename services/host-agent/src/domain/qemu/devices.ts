/**
 * The devices of a machine, one small function each, as QEMU arguments. Pure. Together they are PCI layout 1:
 * an address here never changes, since guests name devices by it; another layout is another version of this file.
 *
 *   pcie.0  01.0 video   02.0 root disk   03.0 random numbers   04.0–0f.0 free (NICs)
 *           10.0–10.7 root ports hp0–hp7: further disks, and what is plugged in later
 */
import { chain, type DiskImage, type MachineDisk } from './machine.ts';

export interface MachinePaths {
  /** The agent's own monitor. */
  readonly qmp: string;
  /** A second one, for people and tools: a second client on the first would hang. */
  readonly spareQmp: string;
  readonly serialSocket: string;
  readonly serialLog: string;
  readonly vnc: string;
  readonly pidFile: string;
}

const rootPorts = 8;

/** QEMU reads a doubled comma as one of the value. */
export function escaped(value: string): string {
  return value.replaceAll(',', ',,');
}

export function monitors(paths: MachinePaths): string[] {
  return ['qmp', 'spareQmp'].flatMap((id) => {
    const socket = id === 'qmp' ? paths.qmp : paths.spareQmp;
    return [
      '-chardev',
      `socket,id=${id},path=${escaped(socket)},server=on,wait=off`,
      '-mon',
      `chardev=${id},mode=control`,
    ];
  });
}

/** What the guest says goes to the log whether anybody listens on the socket or not. */
export function serial(paths: MachinePaths): string[] {
  const log = `logfile=${escaped(paths.serialLog)},logappend=on`;
  return [
    '-chardev',
    `socket,id=serial0,path=${escaped(paths.serialSocket)},server=on,wait=off,${log}`,
    '-serial',
    'chardev:serial0',
  ];
}

export function video(paths: MachinePaths): string[] {
  return [
    '-device',
    'VGA,id=video0,bus=pcie.0,addr=0x1',
    '-display',
    'none',
    '-vnc',
    `unix:${escaped(paths.vnc)}`,
  ];
}

/** Without it a guest waits for entropy at boot. */
export function randomNumbers(): string[] {
  return [
    ...['-object', 'rng-random,id=rng0,filename=/dev/urandom'],
    ...['-device', 'virtio-rng-pci,rng=rng0,id=random0,bus=pcie.0,addr=0x3'],
  ];
}

/** Made before they are needed: PCIe takes a new device only in a port that was there at boot. */
export function hotPlugPorts(): string[] {
  return Array.from({ length: rootPorts }, (_none, port) => {
    const first = port === 0 ? ',multifunction=on' : '';
    return [
      '-device',
      `pcie-root-port,id=hp${port},bus=pcie.0,addr=0x10.0x${port},chassis=${port + 1},slot=${port + 1}${first}`,
    ];
  }).flat();
}

export function disks(all: readonly MachineDisk[]): string[] {
  return all.flatMap((disk, index) => {
    const place = index === 0 ? 'bus=pcie.0,addr=0x2' : `bus=hp${index - 1},addr=0x0`;
    const serialNumber = disk.volumeUid.replaceAll('-', '').slice(-20);
    const names = `drive=disk${index},id=disk${index}-device,serial=${serialNumber}`;
    return [
      ...images(disk, index),
      ...['-device', `virtio-blk-pci,${names},${place},bootindex=${index + 1}`],
    ];
  });
}

/** The whole chain from the bottom up, with a driver named for each: nothing is left to probing or to headers. */
function images(disk: MachineDisk, index: number): string[] {
  const layers = chain(disk.image);
  const nodeName = (depth: number) => (depth === 0 ? `disk${index}` : `disk${index}-base${depth}`);
  return layers
    .map((image, depth) => {
      const readOnly = disk.readOnly || depth > 0;
      const lower = depth + 1 < layers.length ? nodeName(depth + 1) : null;
      return [
        ...fileNode(image, nodeName(depth), readOnly),
        ...formatNode(image, nodeName(depth), readOnly, lower),
      ];
    })
    .reverse()
    .flat();
}

function fileNode(image: DiskImage, name: string, readOnly: boolean): string[] {
  return blockdev({
    driver: 'file',
    'node-name': `${name}-file`,
    filename: image.path,
    'read-only': readOnly,
    discard: 'unmap',
  });
}

function formatNode(image: DiskImage, name: string, readOnly: boolean, lower: string | null): string[] {
  return blockdev({
    driver: image.format,
    'node-name': name,
    file: `${name}-file`,
    'read-only': readOnly,
    discard: 'unmap',
    ...(image.format === 'qcow2' ? { backing: lower } : {}),
  });
}

function blockdev(options: Readonly<Record<string, string | boolean | null>>): string[] {
  return ['-blockdev', JSON.stringify(options)];
}
