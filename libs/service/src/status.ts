/**
 * The one file that knows gRPC codes: our errors to statuses with `google.rpc` details, and back. Every status
 * that leaves carries ErrorInfo (domain nephos.dev) and RequestInfo; a fault that nobody declared becomes
 * `Internal`, whose cause stays in the log (AIP-193).
 */
import { Metadata, type StatusObject, status } from '@grpc/grpc-js';
import { Any } from '@nephos/proto/google/protobuf/any';
import {
  BadRequest,
  ErrorInfo,
  PreconditionFailure,
  RequestInfo,
  RetryInfo,
} from '@nephos/proto/google/rpc/error_details';
import { Status } from '@nephos/proto/google/rpc/status';
import type { MessageType } from './contract.ts';
import { durationOf } from './duration.ts';
import {
  AlreadyExists,
  Cancelled,
  Conflict,
  DeadlineExceeded,
  Denied,
  type ErrorDetails,
  type ErrorKind,
  Exhausted,
  Internal,
  Invalid,
  NephosError,
  NotFound,
  OutOfRange,
  Precondition,
  type Reason,
  Unauthenticated,
  Unavailable,
  Unimplemented,
} from './errors.ts';

export const errorDomain = 'nephos.dev';
const detailsKey = 'grpc-status-details-bin';

interface Row {
  readonly kind: ErrorKind;
  readonly code: status;
  readonly make: new (reason: Reason, message: string, details?: ErrorDetails) => NephosError;
  /** What a status of that code means when it came without our details. */
  readonly reason: Reason;
}

const rows: readonly Row[] = [
  { kind: 'not-found', code: status.NOT_FOUND, make: NotFound, reason: 'RESOURCE_NOT_FOUND' },
  { kind: 'already-exists', code: status.ALREADY_EXISTS, make: AlreadyExists, reason: 'RESOURCE_EXISTS' },
  { kind: 'conflict', code: status.ABORTED, make: Conflict, reason: 'REVISION_MISMATCH' },
  { kind: 'invalid', code: status.INVALID_ARGUMENT, make: Invalid, reason: 'FIELD_INVALID' },
  { kind: 'precondition', code: status.FAILED_PRECONDITION, make: Precondition, reason: 'STATE_FORBIDS' },
  { kind: 'unavailable', code: status.UNAVAILABLE, make: Unavailable, reason: 'SERVICE_UNAVAILABLE' },
  { kind: 'denied', code: status.PERMISSION_DENIED, make: Denied, reason: 'PERMISSION_DENIED' },
  {
    kind: 'unauthenticated',
    code: status.UNAUTHENTICATED,
    make: Unauthenticated,
    reason: 'IDENTITY_UNKNOWN',
  },
  { kind: 'exhausted', code: status.RESOURCE_EXHAUSTED, make: Exhausted, reason: 'LIMIT_REACHED' },
  { kind: 'out-of-range', code: status.OUT_OF_RANGE, make: OutOfRange, reason: 'RESYNC_REQUIRED' },
  { kind: 'cancelled', code: status.CANCELLED, make: Cancelled, reason: 'CALL_CANCELLED' },
  { kind: 'deadline', code: status.DEADLINE_EXCEEDED, make: DeadlineExceeded, reason: 'DEADLINE_EXCEEDED' },
  { kind: 'unimplemented', code: status.UNIMPLEMENTED, make: Unimplemented, reason: 'METHOD_UNKNOWN' },
  { kind: 'internal', code: status.INTERNAL, make: Internal, reason: 'INTERNAL' },
];
const internalRow = rows.at(-1) as Row;
const byKind = new Map(rows.map((row) => [row.kind, row]));
const byCode = new Map(rows.map((row) => [row.code, row]));

/** The declared error that this is; anything else becomes `Internal` with it as the cause. */
export function asNephosError(error: unknown): NephosError {
  if (error instanceof NephosError) return error;
  return new Internal('INTERNAL', 'a fault of the platform; the request id finds it in the logs', {
    cause: error,
  });
}

/** The numeric gRPC code of an error, for metrics and spans. */
export function codeOf(error: NephosError): status {
  return (byKind.get(error.kind) ?? internalRow).code;
}

/** Trailers have to fit into the header limits of every client (8 KiB in gRPC's C core). */
const trailerBytes = 5 * 1024;
const longestMessage = 1024;

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

function pack<T>(type: MessageType<T>, message: T): Any {
  return { typeUrl: `type.googleapis.com/${type.$type}`, value: Buffer.from(type.encode(message).finish()) };
}

/** `most` and `length` bound the lists and their texts. */
function detailsOf(error: NephosError, requestId: string, most: number, length: number): Any[] {
  const { metadata = {}, fields = [], preconditions = [], retryAfterMs } = error.details;
  const facts = Object.entries(metadata).slice(0, most);
  const packed = [
    pack(ErrorInfo, {
      reason: error.reason,
      domain: errorDomain,
      metadata: Object.fromEntries(facts.map(([key, value]) => [key, cut(value, length)])),
    }),
    pack(RequestInfo, { requestId, servingData: '' }),
  ];
  if (fields.length > 0) {
    const fieldViolations = fields.slice(0, most).map(({ field, description }) => ({
      field: cut(field, length),
      description: cut(description, length),
    }));
    packed.push(pack(BadRequest, BadRequest.fromPartial({ fieldViolations })));
  }
  if (preconditions.length > 0) {
    const violations = preconditions.slice(0, most).map(({ type, subject, description }) => ({
      type,
      subject: cut(subject, length),
      description: cut(description, length),
    }));
    packed.push(pack(PreconditionFailure, { violations }));
  }
  if (retryAfterMs !== undefined) {
    packed.push(pack(RetryInfo, { retryDelay: durationOf(retryAfterMs) }));
  }
  return packed;
}

/** The error as records and streams carry it: within the bounds of a trailer, so that it can leave in one too. */
export function toStatusMessage(thrown: unknown, requestId = ''): Status {
  const error = asNephosError(thrown);
  const message = cut(error.message, longestMessage);
  const make = (most: number, length: number): Status => ({
    code: codeOf(error),
    message,
    details: detailsOf(error, requestId, most, length),
  });
  const full = make(50, 300);
  return Status.encode(full).finish().byteLength > trailerBytes ? make(8, 100) : full;
}

/** The status that leaves for an error. Log the cause of an `internal` one before: it is not in it. */
export function toStatus(thrown: unknown, requestId: string): StatusObject {
  const message = toStatusMessage(thrown, requestId);
  const metadata = new Metadata();
  metadata.set(detailsKey, Buffer.from(Status.encode(message).finish()));
  return { code: message.code, details: message.message, metadata };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function readDetails(packed: readonly Any[]): { reason?: Reason; details: Mutable<ErrorDetails> } {
  const details: Mutable<ErrorDetails> = {};
  let reason: Reason | undefined;
  for (const { typeUrl, value } of packed) {
    switch (typeUrl.slice(typeUrl.lastIndexOf('/') + 1)) {
      case ErrorInfo.$type: {
        const info = ErrorInfo.decode(value);
        // A reason that this version does not know yet passes on as it is.
        if (info.domain === errorDomain) reason = info.reason as Reason;
        details.metadata = { ...details.metadata, ...info.metadata };
        break;
      }
      case BadRequest.$type:
        details.fields = BadRequest.decode(value).fieldViolations.map(({ field, description }) => ({
          field,
          description,
        }));
        break;
      case PreconditionFailure.$type:
        details.preconditions = PreconditionFailure.decode(value).violations;
        break;
      case RetryInfo.$type: {
        const delay = RetryInfo.decode(value).retryDelay;
        if (delay !== undefined) details.retryAfterMs = Number(delay.seconds) * 1000 + delay.nanos / 1e6;
        break;
      }
      case RequestInfo.$type:
        details.metadata = { ...details.metadata, requestId: RequestInfo.decode(value).requestId };
        break;
    }
  }
  return reason === undefined ? { details } : { reason, details };
}

/** A status that came back, as what grpc-js hands out: `code`, `details`, `metadata`. */
export interface IncomingStatus {
  readonly code: number;
  readonly details: string;
  readonly metadata?: Metadata | undefined;
}

/** The error that a status stands for. Foreign codes (UNKNOWN, DATA_LOSS) are `Internal`. */
export function fromStatus({ code, details, metadata }: IncomingStatus): NephosError {
  const bytes = metadata?.get(detailsKey)[0];
  let packed: readonly Any[] = [];
  try {
    if (Buffer.isBuffer(bytes)) packed = Status.decode(bytes).details;
  } catch {
    // Not our encoding: the code and the text still say something.
  }
  if (packed.length === 0 && code === status.INTERNAL && brokenOff.test(details)) {
    return new Unavailable('SERVICE_UNAVAILABLE', `the answer broke off: ${details}`);
  }
  const message = details.replace(notConnected, 'no connection: $1');
  return fromStatusMessage({ code, message, details: [...packed] });
}

/** What grpc-js says where nobody listens: each layer of it repeats the one below. */
const notConnected =
  /^(?:\w+: )?No connection established\. .*Last error: (?:Error: )?(.+?)\. Resolution note:.*$/s;

/** What grpc-js says where the other side ended the stream and no status had come: it is gone, not at fault. */
const brokenOff = /^Received RST_STREAM with code 0 /;

/** The same, from what a record or a stream carried. */
export function fromStatusMessage({ code, message, details }: Status): NephosError {
  const row = byCode.get(code) ?? internalRow;
  let read: ReturnType<typeof readDetails>;
  try {
    read = readDetails(details);
  } catch {
    read = { details: {} };
  }
  const tooLarge = row.kind === 'exhausted' && message.startsWith('Received message');
  const reason = read.reason ?? (tooLarge ? 'MESSAGE_TOO_LARGE' : row.reason);
  return new row.make(reason, message, read.details);
}
