/**
 * Looks at an image file and says what it is, or refuses it. First its own bytes, by our parser; only what
 * passed is opened by qemu-img, within limits. Inspect a private copy: what another may still change is
 * another file by the time it is used.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Invalid } from '@nephos/service';
import { detectFormat, headLength, tailLength } from './format.ts';
import {
  defaultImageLimits,
  type ImageFacts,
  type ImageLimits,
  judgeCheck,
  judgeImage,
  type RawFacts,
} from './image-rules.ts';
import { parseQcow2Header } from './qcow2.ts';
import type { QemuImg } from './qemu-img.ts';

/**
 * The facts of an image that may be used. Throws `Invalid` with one of the `IMAGE_…` reasons, or `Unavailable`
 * where qemu-img could not finish.
 */
export async function inspectImage(
  file: string,
  qemuImg: QemuImg,
  limits: ImageLimits = defaultImageLimits,
): Promise<ImageFacts> {
  const facts = await inspectHead(file, limits);
  if (facts.format === 'raw') return facts;
  const info = await qemuImg.info(file, 'qcow2');
  // The parser and QEMU must see the same image: where they differ, one of them was deceived.
  if (info.backingFile !== undefined)
    throw new Invalid('IMAGE_HAS_BACKING_FILE', 'QEMU sees a backing file.');
  if (info.dataFile !== undefined) throw new Invalid('IMAGE_HAS_DATA_FILE', 'QEMU sees a data file.');
  if (info.encrypted) throw new Invalid('IMAGE_ENCRYPTED', 'QEMU sees encryption.');
  if (info.virtualSizeBytes !== facts.virtualSizeBytes) {
    throw new Invalid('IMAGE_CORRUPT', `QEMU sees a disk of ${info.virtualSizeBytes} bytes.`);
  }
  judgeCheck(await qemuImg.check(file));
  return facts;
}

/**
 * The same judgement from the image's own bytes alone: quick, no program opens the file. Catches what is dangerous,
 * not every damage within. Throws `Invalid` with one of the `IMAGE_…` reasons.
 */
export async function inspectHead(
  file: string,
  limits: ImageLimits = defaultImageLimits,
): Promise<ImageFacts> {
  return judgeImage(await readRawFacts(file), limits);
}

async function readRawFacts(file: string): Promise<RawFacts> {
  // Without blocking, or a pipe in the image's place would hold us for ever.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  await using handle = await open(file, flags).catch((cause: unknown) => {
    throw new Invalid('IMAGE_SOURCE_REFUSED', `The file cannot be opened: ${file}`, { cause });
  });
  const { size, isFile } = await handle.stat().then((stat) => ({ size: stat.size, isFile: stat.isFile() }));
  if (!isFile) throw new Invalid('IMAGE_SOURCE_REFUSED', `Not a regular file: ${file}`);
  const head = await readAt(handle, 0, Math.min(size, headLength));
  const tail = await readAt(handle, Math.max(0, size - tailLength), Math.min(size, tailLength));
  const format = detectFormat(head, tail);
  if (format !== 'qcow2') return { format, fileSizeBytes: size };
  return { format, fileSizeBytes: size, header: parseQcow2Header(head) };
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}
