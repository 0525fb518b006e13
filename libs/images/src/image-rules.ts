/**
 * What an image must be to be taken as a template or volume. Pure: facts in, facts out, or `Invalid` with the
 * reason. Why so strict: QEMU opens what an image names, so a backing or data file reads the host's own files.
 * Order matters: what makes an image dangerous is said before what makes it merely broken.
 */
import { Invalid, type Reason } from '@nephos/service';
import type { ImageFormat } from './format.ts';
import { extensionTypes, incompatible, type Qcow2Header } from './qcow2.ts';

export interface ImageLimits {
  /** The disk as the guest sees it, in bytes. */
  readonly virtualSizeBytes: number;
  /** The file, in bytes. */
  readonly fileSizeBytes: number;
}

export const defaultImageLimits: ImageLimits = {
  virtualSizeBytes: 2 * 2 ** 40,
  fileSizeBytes: 256 * 2 ** 30,
};

/** What is known of an image that was taken. */
export interface ImageFacts {
  readonly format: 'qcow2' | 'raw';
  readonly fileSizeBytes: number;
  readonly virtualSizeBytes: number;
}

/** What was read of a file before any program opened it. */
export interface RawFacts {
  readonly format: ImageFormat;
  readonly fileSizeBytes: number;
  /** Of a qcow2. */
  readonly header?: Qcow2Header;
}

/** What `qemu-img check` counted. */
export interface CheckFacts {
  readonly corruptions: number;
  readonly checkErrors: number;
  /** References to what lies past the end of the file. */
  readonly beyondEnd: number;
}

const knownFeatures = Object.values(incompatible).reduce((all, bit) => all | bit, 0n);
const sector = 512;
/** QEMU takes no larger L1 table: 32 MiB. */
const mostL1Entries = (32 * 2 ** 20) / 8;

/** The facts of an image whose start was read, or `Invalid`. */
export function judgeImage(raw: RawFacts, limits: ImageLimits): ImageFacts {
  if (raw.fileSizeBytes === 0) refuse('IMAGE_TRUNCATED', 'The image is empty.');
  if (raw.fileSizeBytes > limits.fileSizeBytes) {
    refuse(
      'IMAGE_TOO_LARGE',
      `The image file has ${raw.fileSizeBytes} bytes; ${limits.fileSizeBytes} are allowed.`,
    );
  }
  if (raw.format === 'luks') refuse('IMAGE_ENCRYPTED', 'The image is encrypted (LUKS).');
  if (raw.format === 'qcow2' && raw.header) return judgeQcow2(raw.header, raw.fileSizeBytes, limits);
  if (raw.format === 'raw') return judgeRaw(raw.fileSizeBytes, limits);
  const seen = raw.format === 'unknown' ? 'no disk image that is known here' : `a ${raw.format} image`;
  return refuse(
    'IMAGE_FORMAT_UNSUPPORTED',
    `The file is ${seen}; qcow2 and raw disks with a boot record are taken.`,
    { format: raw.format },
  );
}

/** Refuses what `qemu-img check` found broken. Leaked clusters waste room and harm nothing. */
export function judgeCheck(check: CheckFacts): void {
  if (check.beyondEnd > 0) {
    refuse('IMAGE_TRUNCATED', `The image refers to data past its end in ${check.beyondEnd} places.`);
  }
  const faults = check.corruptions + check.checkErrors;
  if (faults > 0) refuse('IMAGE_CORRUPT', `The image's inner structure is damaged in ${faults} places.`);
}

function judgeRaw(length: number, limits: ImageLimits): ImageFacts {
  if (length % sector !== 0) {
    refuse('IMAGE_TRUNCATED', `The raw image has ${length} bytes, which are no whole sectors of ${sector}.`);
  }
  requireSize(BigInt(length), limits);
  return { format: 'raw', fileSizeBytes: length, virtualSizeBytes: length };
}

function judgeQcow2(header: Qcow2Header, length: number, limits: ImageLimits): ImageFacts {
  refuseDanger(header);
  requireSize(header.virtualSizeBytes, limits);
  requireStructure(header);
  requireWithinFile(header, BigInt(length));
  return { format: 'qcow2', fileSizeBytes: length, virtualSizeBytes: Number(header.virtualSizeBytes) };
}

function refuseDanger(header: Qcow2Header): void {
  const features = header.incompatibleFeatures;
  if (header.backingFileOffset !== 0n) {
    refuse(
      'IMAGE_HAS_BACKING_FILE',
      'The image is an overlay over another file; flatten it (qemu-img convert).',
    );
  }
  if (features & incompatible.dataFile || header.extensions.includes(extensionTypes.dataFileName)) {
    refuse('IMAGE_HAS_DATA_FILE', 'The image keeps its data in another file; convert it to a single one.');
  }
  if (header.cryptMethod !== 0 || header.extensions.includes(extensionTypes.encryptionHeader)) {
    refuse('IMAGE_ENCRYPTED', 'The image is encrypted.');
  }
  if (features & ~knownFeatures) {
    refuse(
      'IMAGE_FORMAT_UNSUPPORTED',
      `The image needs unknown qcow2 features (0x${features.toString(16)}).`,
    );
  }
  if (features & incompatible.corrupt) refuse('IMAGE_CORRUPT', 'The image is marked as corrupt.');
}

function requireSize(bytes: bigint, limits: ImageLimits): void {
  if (bytes > BigInt(limits.virtualSizeBytes)) {
    refuse('IMAGE_TOO_LARGE', `The disk has ${bytes} bytes; ${limits.virtualSizeBytes} are allowed.`, {
      virtual_size_bytes: String(bytes),
    });
  }
  if (bytes === 0n) refuse('IMAGE_TRUNCATED', 'The disk has no bytes.');
}

function requireStructure(header: Qcow2Header): void {
  if (header.clusterBits < 9 || header.clusterBits > 21) {
    refuse('IMAGE_CORRUPT', `The image claims clusters of 2^${header.clusterBits} bytes.`);
  }
  const cluster = 1n << BigInt(header.clusterBits);
  const aligned = (offset: bigint) => offset % cluster === 0n;
  if (!aligned(header.l1Offset) || !aligned(header.refcountTableOffset) || !aligned(header.snapshotsOffset)) {
    refuse('IMAGE_CORRUPT', "The image's tables do not begin at a cluster.");
  }
  const entryBytes = header.incompatibleFeatures & incompatible.extendedL2 ? 16n : 8n;
  const mappedByEntry = (cluster / entryBytes) * cluster;
  const entriesNeeded = (header.virtualSizeBytes + mappedByEntry - 1n) / mappedByEntry;
  if (BigInt(header.l1Entries) < entriesNeeded || header.l1Entries > mostL1Entries) {
    refuse(
      'IMAGE_CORRUPT',
      `The image's first table has ${header.l1Entries} entries and needs ${entriesNeeded}.`,
    );
  }
  if (header.refcountOrder > 6 || header.refcountTableClusters === 0) {
    refuse('IMAGE_CORRUPT', "The image's reference counts cannot be right.");
  }
}

function requireWithinFile(header: Qcow2Header, length: bigint): void {
  const cluster = 1n << BigInt(header.clusterBits);
  const ends = [
    header.l1Offset + BigInt(header.l1Entries) * 8n,
    header.refcountTableOffset + BigInt(header.refcountTableClusters) * cluster,
    header.snapshots > 0 ? header.snapshotsOffset + 40n * BigInt(header.snapshots) : 0n,
    BigInt(header.headerLength),
  ];
  const end = ends.reduce((furthest, each) => (each > furthest ? each : furthest));
  if (end > length) refuse('IMAGE_TRUNCATED', endsEarly(length, end));
}

function endsEarly(length: number | bigint, end: number | bigint): string {
  return `The image file has ${length} bytes but refers to data up to ${end}.`;
}

function refuse(reason: Reason, message: string, metadata: Record<string, string> = {}): never {
  throw new Invalid(reason, message, { metadata });
}
