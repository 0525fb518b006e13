/** Reading what may not be there. */
import { NotFound } from '@nephos/service';

/** `undefined` for what is not there; any other error is thrown. */
export async function orMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof NotFound) return undefined;
    throw error;
  }
}
