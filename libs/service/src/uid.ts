/** Identifiers: UUIDv7 (RFC 9562), so that ids sort by the time they were minted and indexes stay compact. */
import { randomFillSync } from 'node:crypto';
import { v7, validate, version } from 'uuid';
import { systemClock } from './clock.ts';

// Every call mints an id, and asking the system for 16 random bytes costs more than the rest of it.
const bytesAnId = 16;
const pool = new Uint8Array(256 * bytesAnId);
let taken = pool.length;
let msecs = 0;
let seq = 0;

function randomBytes(): Uint8Array {
  if (taken === pool.length) {
    randomFillSync(pool);
    taken = 0;
  }
  taken += bytesAnId;
  return pool.subarray(taken - bytesAnId, taken);
}

/** Within a process each is greater than the one before, also within a millisecond and when the clock steps back. */
export function newUid(): string {
  const random = randomBytes();
  const now = systemClock.now().getTime();
  if (now > msecs) {
    msecs = now;
    seq = new DataView(random.buffer, random.byteOffset, 4).getUint32(0) >>> 1;
  } else {
    seq = (seq + 1) >>> 0;
    if (seq === 0) msecs += 1;
  }
  return v7({ random, msecs, seq });
}

export function isUid(text: string): boolean {
  return validate(text) && version(text) === 7;
}
