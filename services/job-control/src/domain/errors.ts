/** Errors between their stored form and google.rpc.Status. Pure. */

import { Status } from '@nephos/proto/google/rpc/status';
import { toStatusMessage as statusOf } from '@nephos/service';
import type { ErrorRecord } from './record.ts';

export function errorRecord(status: Status | undefined): ErrorRecord {
  const given = status ?? statusOf(undefined);
  return { message: given.message, status: Buffer.from(Status.encode(given).finish()).toString('base64') };
}

export function recordOfThrown(error: unknown): ErrorRecord {
  return errorRecord(statusOf(error));
}

export function statusMessage(record: ErrorRecord): Status {
  return Status.decode(Buffer.from(record.status, 'base64'));
}
