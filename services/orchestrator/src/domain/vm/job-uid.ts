/**
 * Uids of jobs that the orchestrator starts by itself: derived from the VM and the generation of its operation, so
 * that two replicas, or one before and after a crash, mean the same job.
 */
import { createHash } from 'node:crypto';

/** A UUIDv7 with the VM's time and hashed random bits. */
export function systemJobUid(vmUid: string, generation: number): string {
  const hash = createHash('sha256').update(`${vmUid}/operations/${generation}`).digest('hex');
  const variant = ((Number.parseInt(hash.slice(3, 4), 16) & 0x3) | 0x8).toString(16);
  return `${vmUid.slice(0, 14)}7${hash.slice(0, 3)}-${variant}${hash.slice(4, 7)}-${hash.slice(7, 19)}`;
}
