/**
 * The uid of a job's n-th child: derived, so that a replay names the same child without a record of it.
 * It is a UUIDv7 with the parent's time and hashed random bits.
 */
import { createHash } from 'node:crypto';

export function childUid(parent: string, index: number): string {
  const hash = createHash('sha256').update(`${parent}/${index}`).digest('hex');
  const variant = ((Number.parseInt(hash.slice(3, 4), 16) & 0x3) | 0x8).toString(16);
  return `${parent.slice(0, 14)}7${hash.slice(0, 3)}-${variant}${hash.slice(4, 7)}-${hash.slice(7, 19)}`;
}
