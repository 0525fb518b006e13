/**
 * The serial console's log of one machine. QEMU appends to it; a guest that never stops talking must not fill the
 * host's disk, so the log is cut to its end when it has grown too long. Offsets count all bytes ever written: the
 * file beside it says how many were cut. A crash in the midst of a cut may lose the log, never the guest.
 */
import { open, readFile, writeFile } from 'node:fs/promises';
import { isErrno } from '../files.ts';

export interface SerialPiece {
  /** Offset of the first byte; later than asked for where the log was cut. */
  readonly offset: number;
  /** As the guest wrote it: hostile to terminals until cleaned. */
  readonly data: Buffer;
  /** Offset after the last byte that is there now. */
  readonly end: number;
}

export const longestLog = 8 * 2 ** 20;
const keptOfLog = 2 ** 20;

/** A negative offset counts from the end. An empty piece where nothing was written (yet). */
export async function readSerialLog(file: string, offset: number, maxBytes: number): Promise<SerialPiece> {
  const cut = await cutBytes(file);
  try {
    await using handle = await open(file, 'r');
    const { size } = await handle.stat();
    const end = cut + size;
    const from = Math.min(end, Math.max(cut, offset < 0 ? end + offset : offset));
    const buffer = Buffer.alloc(Math.min(maxBytes, end - from));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, from - cut);
    return { offset: from, data: buffer.subarray(0, bytesRead), end };
  } catch (fault) {
    if (isErrno(fault, 'ENOENT')) return { offset: cut, data: Buffer.alloc(0), end: cut };
    throw fault;
  }
}

/** Cuts a log that is longer than `longest`. What is written during the cut may be lost. */
export async function trimSerialLog(file: string, longest = longestLog, kept = keptOfLog): Promise<void> {
  await using handle = await open(file, 'a');
  if ((await handle.stat()).size <= longest) return;
  const { data, end } = await readSerialLog(file, -kept, kept);
  await handle.truncate(0);
  await handle.write(data);
  await writeFile(cutFile(file), String(end - data.length));
}

function cutFile(file: string): string {
  return `${file}.cut`;
}

async function cutBytes(file: string): Promise<number> {
  try {
    return Number(await readFile(cutFile(file), 'utf8'));
  } catch (fault) {
    if (isErrno(fault, 'ENOENT')) return 0;
    throw fault;
  }
}
