// Lays out the guest's disk in plain files, so that no mount, loop device or root right is needed: MBR, a FAT
// partition that boots (syslinux), an ext4 partition for data. Owner: deploy/guest.
// Equal input gives an equal file system: fixed ids, times and one writer.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const sector = 512;
const mebibyte = 2 ** 20;
const boot = { start: 1 * mebibyte, size: 27 * mebibyte, type: 0x0e, active: true };
const data = { start: 28 * mebibyte, size: 36 * mebibyte, type: 0x83, active: false };
const diskSize = 64 * mebibyte;
const volumeId = '4e455048';
const dataUuid = '4e657068-6f73-4775-8573-740000000001';

/** All files carry this time; the tools that write file systems are told the same. */
const epochSeconds = 1_700_000_000;

function run(command, args) {
  execFileSync(command, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
      SOURCE_DATE_EPOCH: String(epochSeconds),
      E2FSPROGS_FAKE_TIME: String(epochSeconds),
      MTOOLS_SKIP_CHECK: '1',
      TZ: 'UTC',
    },
  });
}

/** Writes the disk into the folder `work` and returns the path of the qcow2. */
export function makeDisk({ work, files, syslinux, bootCode }) {
  const raw = path.join(work, 'disk.raw');
  fs.writeFileSync(raw, masterBootRecord(bootCode));
  fs.truncateSync(raw, diskSize);
  makeBootPartition({ work, raw, files, syslinux });
  makeDataPartition({ work, raw });
  const qcow2 = path.join(work, 'disk.qcow2');
  // One coroutine, in order: the same bytes each time.
  run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-m', '1', raw, qcow2]);
  return qcow2;
}

function masterBootRecord(bootCode) {
  const record = Buffer.alloc(sector);
  bootCode.copy(record, 0, 0, 440);
  Buffer.from(volumeId, 'hex').copy(record, 440);
  [boot, data].forEach((partition, index) => {
    const at = 446 + 16 * index;
    record.writeUInt8(partition.active ? 0x80 : 0, at);
    // Cylinders, heads and sectors cannot say it: the largest values mean "use the sector numbers".
    Buffer.from('feffff', 'hex').copy(record, at + 1);
    record.writeUInt8(partition.type, at + 4);
    Buffer.from('feffff', 'hex').copy(record, at + 5);
    record.writeUInt32LE(partition.start / sector, at + 8);
    record.writeUInt32LE(partition.size / sector, at + 12);
  });
  record.writeUInt16LE(0xaa55, 510);
  return record;
}

function makeBootPartition({ work, raw, files, syslinux }) {
  const offset = String(boot.start / sector);
  const blocks = String(boot.size / 1024);
  const format = [
    '-F',
    '16',
    '-n',
    'NEPHOS',
    '-i',
    volumeId,
    '--invariant',
    '-h',
    offset,
    '--offset',
    offset,
  ];
  run('mkfs.fat', [...format, raw, blocks]);
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(work, name);
    fs.writeFileSync(file, content);
    fs.utimesSync(file, epochSeconds, epochSeconds);
    run('mcopy', ['-m', '-i', `${raw}@@${boot.start}`, file, `::${name}`]);
  }
  run(syslinux, ['--offset', String(boot.start), '--install', raw]);
}

function makeDataPartition({ work, raw }) {
  const image = path.join(work, 'data.ext4');
  fs.writeFileSync(image, '');
  fs.truncateSync(image, data.size);
  const fixed = `hash_seed=${dataUuid},lazy_itable_init=0,lazy_journal_init=0`;
  run('mke2fs', ['-q', '-F', '-t', 'ext4', '-m', '0', '-L', 'data', '-U', dataUuid, '-E', fixed, image]);
  const disk = fs.openSync(raw, 'r+');
  fs.writeSync(disk, fs.readFileSync(image), 0, data.size, data.start);
  fs.closeSync(disk);
}
