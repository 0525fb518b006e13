// What the driver's errors mean: the store's own, or that MongoDB cannot be reached.
// Owner: the MongoDB adapter. Invariants: no message carries a URL's secrets; a write whose answer was lost is
// Unavailable and may have happened; nothing here ends the store, since a server that was away comes back.
import { Exhausted, Internal, NephosError, Unavailable } from '@nephos/service';
import {
  MongoBulkWriteError,
  MongoError,
  MongoServerError,
  MongoWriteConcernError,
  type WriteError,
} from 'mongodb';

const duplicateKey = 11_000;
/** BSONObjectTooLarge and the codes of updates whose result would be. */
const tooLarge = new Set([10_334, 17_419, 17_420]);
const outOfDisk = 14_031;
const retryAfterMs = 1000;

export function serverCode(error: unknown): number | undefined {
  return error instanceof MongoServerError && typeof error.code === 'number' ? error.code : undefined;
}

export function isDuplicate(error: unknown): error is MongoServerError {
  return serverCode(error) === duplicateKey;
}

/** Whether the server answered a bulk write, and refused some of it; the rest is done. */
export function hasWriteErrors(error: unknown): error is MongoBulkWriteError {
  if (!(error instanceof MongoBulkWriteError)) return false;
  return writeErrorsOf(error).length > 0 && error.result.getWriteConcernError() === undefined;
}

export function writeErrorsOf({ writeErrors }: MongoBulkWriteError): readonly WriteError[] {
  return [writeErrors].flat();
}

/** Whether the command never left this process: its connection was taken away while it waited for one. */
export function wasNotSent(error: unknown): boolean {
  return error instanceof MongoError && !hasWriteErrors(error) && error.hasErrorLabel('PoolRequestedRetry');
}

/** What a caller of the store is to be told. */
export function storeError(error: unknown): Error {
  if (error instanceof NephosError) return error;
  const code = serverCode(error);
  if (code !== undefined && tooLarge.has(code)) {
    return new Exhausted('LIMIT_REACHED', 'the document has no room until its pending events are published', {
      retryAfterMs,
    });
  }
  if (code === outOfDisk)
    return new Exhausted('LIMIT_REACHED', 'MongoDB has no disk space: nothing was written');
  if (isRefusal(error))
    return new Internal('INTERNAL', `MongoDB refused an operation: ${error.message}`, { cause: error });
  // Sockets that break in the middle of a write come through as bare system errors, with a code.
  const { code: systemCode, message = '' } = error as { code?: unknown; message?: string };
  if (!(error instanceof MongoError) && typeof systemCode !== 'string') return error as Error;
  return new Unavailable('SERVICE_UNAVAILABLE', `MongoDB cannot be reached: ${message}`, {
    cause: error,
    retryAfterMs,
  });
}

/** The server carried nothing out and would say the same again. */
function isRefusal(error: unknown): error is MongoServerError {
  if (!(error instanceof MongoServerError) || error instanceof MongoWriteConcernError) return false;
  // The driver wraps whatever befalls a bulk write, a broken connection too, in an error of the server's.
  if (error instanceof MongoBulkWriteError && !hasWriteErrors(error)) return false;
  return !isPassing(error);
}

/** Elections, shutdowns and interruptions carry labels; authentication is mended without a restart. */
function isPassing(error: MongoError): boolean {
  const passing = ['RetryableWriteError', 'RetryableError', 'TransientTransactionError', 'ResetPool'];
  const codes = new Set([
    6, 7, 13, 18, 50, 64, 89, 91, 189, 262, 9001, 10_107, 11_600, 11_602, 13_435, 13_436,
  ]);
  return passing.some((label) => error.hasErrorLabel(label)) || codes.has(Number(error.code));
}
