/**
 * Errors as job records carry them (google.rpc.Status), and which of them may pass.
 * Invariant: what is recorded reads back as an error of the same kind and reason, in any process.
 */
import { fromStatusMessage, NephosError, toStatusMessage } from '@nephos/service';

/** Errors that another try may not meet again. All others of ours are final. */
const passing: ReadonlySet<string> = new Set(['unavailable', 'conflict', 'internal', 'deadline']);

/** True when the job may be tried again; whatever is not one of our errors is a fault of ours, so true too. */
export function mayPass(error: unknown): boolean {
  return error instanceof NephosError ? passing.has(error.kind) : true;
}

export { fromStatusMessage as errorOf, toStatusMessage as statusOf };
