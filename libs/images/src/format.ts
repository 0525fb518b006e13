/**
 * Which format an image file has, by its own bytes: what a caller or a file name claims is never believed.
 * Pure. A file counts as raw only when it carries a boot record, so that a web page or a password file that was
 * handed in by mistake or by malice is no disk.
 */

export type ImageFormat =
  | 'qcow2'
  | 'qcow1'
  | 'raw'
  | 'iso'
  | 'vmdk'
  | 'vdi'
  | 'vhd'
  | 'vhdx'
  | 'qed'
  | 'luks'
  | 'unknown';

/** How much of the start of a file must be given: as far as the ISO 9660 descriptor lies. */
export const headLength = 64 * 1024;
/** How much of its end: a VHD of fixed size is told by its last sector alone. */
export const tailLength = 512;

interface Magic {
  readonly format: ImageFormat;
  readonly at: number;
  readonly bytes: Buffer;
}

const text = (format: ImageFormat, at: number, magic: string): Magic => ({
  format,
  at,
  bytes: Buffer.from(magic, 'latin1'),
});

const magics: readonly Magic[] = [
  text('qcow2', 0, 'QFI\xfb\0\0\0\x02'),
  text('qcow2', 0, 'QFI\xfb\0\0\0\x03'),
  text('qcow1', 0, 'QFI\xfb'),
  text('vmdk', 0, 'KDMV'),
  text('vmdk', 0, 'COWD'),
  text('vmdk', 0, '# Disk DescriptorFile'),
  text('vdi', 0x40, '\x7f\x10\xda\xbe'),
  text('vhdx', 0, 'vhdxfile'),
  text('vhd', 0, 'conectix'),
  text('qed', 0, 'QED\0'),
  text('luks', 0, 'LUKS\xba\xbe'),
];
const vhdFooter = text('vhd', 0, 'conectix');
const isoDescriptor = text('iso', 0x8001, 'CD001');
const bootRecord = text('raw', 510, '\x55\xaa');

/** `head` is the file's first bytes (`headLength`, or all of a shorter file), `tail` its last 512. */
export function detectFormat(head: Buffer, tail: Buffer): ImageFormat {
  const found = magics.find((magic) => holds(head, magic));
  if (found) return found.format;
  if (holds(tail, vhdFooter)) return 'vhd';
  // Hybrid ISOs carry a boot record too, so this comes first.
  if (holds(head, isoDescriptor)) return 'iso';
  return holds(head, bootRecord) ? 'raw' : 'unknown';
}

function holds(bytes: Buffer, magic: Magic): boolean {
  return bytes.subarray(magic.at, magic.at + magic.bytes.length).equals(magic.bytes);
}
