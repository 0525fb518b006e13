/** Images for tests: the guest that really boots, and an empty disk for where nothing does. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

const repo = path.resolve(import.meta.dirname, '../../..');
const clusterBytes = 65_536;

/** The bootable guest, as `npm run setup` made it. Throws where it was not made. */
export function guestImage(): string {
  const named = process.env['NEPHOS_GUEST_IMAGE'] ?? stamped();
  if (named !== undefined && existsSync(named)) return named;
  throw new Error('the guest image is missing: npm run setup makes it');
}

function stamped(): string | undefined {
  const stamp = path.join(repo, '.cache/guest/.current');
  return existsSync(stamp) ? readFileSync(stamp, 'utf8').split('\n')[1] : undefined;
}

/** Fields of a qcow2 header that a test may set; offsets and meaning as in QEMU's docs/interop/qcow2.txt. */
export interface Qcow2Options {
  readonly virtualBytes?: number;
  /** Written into the header as the backing file. */
  readonly backingFile?: string;
  readonly incompatibleFeatures?: bigint;
  /** A header extension with this text. */
  readonly extension?: { readonly type: number; readonly text: string };
}

/** An empty qcow2 disk of four clusters: header, refcount table, refcount block, L1 table. */
export function emptyQcow2(options: Qcow2Options = {}): Buffer {
  const { virtualBytes = 2 ** 20, backingFile = '', incompatibleFeatures = 0n, extension } = options;
  const image = Buffer.alloc(4 * clusterBytes);
  image.write('QFI\xfb', 0, 'latin1');
  image.writeUInt32BE(3, 4);
  image.writeUInt32BE(Math.log2(clusterBytes), 20);
  image.writeBigUInt64BE(BigInt(virtualBytes), 24);
  image.writeUInt32BE(Math.ceil(virtualBytes / (clusterBytes * (clusterBytes / 8))), 36);
  image.writeBigUInt64BE(BigInt(3 * clusterBytes), 40);
  image.writeBigUInt64BE(BigInt(clusterBytes), 48);
  image.writeUInt32BE(1, 56);
  image.writeBigUInt64BE(incompatibleFeatures, 72);
  image.writeUInt32BE(4, 96);
  image.writeUInt32BE(104, 100);
  if (extension) {
    image.writeUInt32BE(extension.type, 104);
    image.writeUInt32BE(extension.text.length, 108);
    image.write(extension.text, 112);
  }
  if (backingFile !== '') {
    image.writeBigUInt64BE(1024n, 8);
    image.writeUInt32BE(backingFile.length, 16);
    image.write(backingFile, 1024);
  }
  image.writeBigUInt64BE(BigInt(2 * clusterBytes), clusterBytes);
  for (let cluster = 0; cluster < 4; cluster += 1) image.writeUInt16BE(1, 2 * clusterBytes + 2 * cluster);
  return image;
}
