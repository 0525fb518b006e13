/**
 * Reads the header of a qcow2 file (QEMU docs/interop/qcow2.txt) without QEMU, so that a hostile image is
 * judged before any program opens it. Pure. It tells what is written, and refuses only what cannot be read.
 */
import { Invalid } from '@nephos/service';

export interface Qcow2Header {
  readonly version: 2 | 3;
  /** Zero when the image has no backing file. */
  readonly backingFileOffset: bigint;
  readonly clusterBits: number;
  readonly virtualSizeBytes: bigint;
  /** 0 none, 1 AES, 2 LUKS. */
  readonly cryptMethod: number;
  /** Entries of 8 bytes. */
  readonly l1Entries: number;
  readonly l1Offset: bigint;
  readonly refcountTableOffset: bigint;
  readonly refcountTableClusters: number;
  readonly snapshots: number;
  readonly snapshotsOffset: bigint;
  readonly incompatibleFeatures: bigint;
  readonly refcountOrder: number;
  readonly headerLength: number;
  /** Types of the header extensions, in order. */
  readonly extensions: readonly number[];
}

/** Bits of `incompatibleFeatures`: who does not know one may not open the image. */
export const incompatible = { dirty: 1n, corrupt: 2n, dataFile: 4n, compressionType: 8n, extendedL2: 16n };
export const extensionTypes = { dataFileName: 0x44415441, encryptionHeader: 0x0537be77 };

const headerLengthOfVersion2 = 72;
const smallestHeaderOfVersion3 = 104;
/** More than any writer makes; a bound, since the list is the image's to choose. */
const mostExtensions = 64;

/** `head` is the start of the file, at least its first cluster or 64 KiB. Throws `Invalid` if it cannot be read. */
export function parseQcow2Header(head: Buffer): Qcow2Header {
  if (head.length < headerLengthOfVersion2) throw truncated();
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) {
    throw new Invalid(
      'IMAGE_FORMAT_UNSUPPORTED',
      `The image is qcow2 of version ${version}; 2 and 3 are taken.`,
    );
  }
  if (version === 3 && head.length < smallestHeaderOfVersion3) throw truncated();
  const headerLength = version === 2 ? headerLengthOfVersion2 : head.readUInt32BE(100);
  if (version === 3 && (headerLength < smallestHeaderOfVersion3 || headerLength % 8 !== 0)) {
    throw new Invalid('IMAGE_CORRUPT', `The image's header claims a length of ${headerLength} bytes.`);
  }
  return {
    version,
    backingFileOffset: head.readBigUInt64BE(8),
    clusterBits: head.readUInt32BE(20),
    virtualSizeBytes: head.readBigUInt64BE(24),
    cryptMethod: head.readUInt32BE(32),
    l1Entries: head.readUInt32BE(36),
    l1Offset: head.readBigUInt64BE(40),
    refcountTableOffset: head.readBigUInt64BE(48),
    refcountTableClusters: head.readUInt32BE(56),
    snapshots: head.readUInt32BE(60),
    snapshotsOffset: head.readBigUInt64BE(64),
    incompatibleFeatures: version === 2 ? 0n : head.readBigUInt64BE(72),
    refcountOrder: version === 2 ? 4 : head.readUInt32BE(96),
    headerLength,
    extensions: readExtensions(head, headerLength, endOfExtensions(head)),
  };
}

/** As QEMU has it: they end before the backing file's name, or with the first cluster. */
function endOfExtensions(head: Buffer): number {
  const backing = head.readBigUInt64BE(8);
  return backing === 0n ? 2 ** head.readUInt32BE(20) : Number(backing);
}

function readExtensions(head: Buffer, start: number, end: number): number[] {
  const types: number[] = [];
  let at = start;
  while (at + 8 <= end && types.length < mostExtensions) {
    // Further than was read: what lies there cannot be judged, so it may not be there.
    if (at + 8 > head.length) throw truncated();
    const type = head.readUInt32BE(at);
    if (type === 0) return types;
    types.push(type);
    at += 8 + Math.ceil(head.readUInt32BE(at + 4) / 8) * 8;
  }
  if (types.length === mostExtensions) {
    throw new Invalid('IMAGE_CORRUPT', "The image's header extensions have no end.");
  }
  return types;
}

function truncated(): Invalid {
  return new Invalid('IMAGE_TRUNCATED', 'The image ends within its own header, or its header does not end.');
}
