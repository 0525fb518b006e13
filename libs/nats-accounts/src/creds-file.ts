/** A file of NATS credentials, read each time that a connection is made, so that it may be renewed in its place. */
import { readFileSync } from 'node:fs';
import { Precondition } from '@nephos/service';

/** Throws `Precondition` where the file cannot be read; never tells what is in it. */
export function credsReader(file: string): () => Uint8Array {
  return () => {
    try {
      return readFileSync(file);
    } catch (cause) {
      throw new Precondition('STATE_FORBIDS', `the file of NATS credentials cannot be read: ${file}`, {
        cause,
      });
    }
  };
}
