/** A job as the long-running operation that it is (google.longrunning, AIP-151). Pure. */
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import type { Any } from '@nephos/proto/google/protobuf/any';
import { Empty } from '@nephos/proto/google/protobuf/empty';
import { Struct, Value } from '@nephos/proto/google/protobuf/struct';
import { Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Cancelled, Internal, Invalid, isUid } from '@nephos/service';
import { isOver } from './client.ts';
import { statusOf } from './status.ts';

const prefix = 'operations/';

/** `operations/{uid}`. */
export function operationName(uid: string): string {
  return prefix + uid;
}

/** The job's uid. Throws `Invalid`. */
export function operationUid(name: string): string {
  const uid = name.startsWith(prefix) ? name.slice(prefix.length) : '';
  if (!isUid(uid)) throw new Invalid('FIELD_INVALID', `"${name}" is not of the form operations/{uid}`);
  return uid;
}

/**
 * `metadata` is the job; `response` its result: a Struct for an object, Empty for none, else a Value. A service
 * that promises a resource as response hands it in instead.
 */
export function operationOf(job: Job, response: Any = responseOf(job)): Operation {
  const done = isOver(job.state);
  return {
    name: operationName(job.header?.uid ?? ''),
    metadata: pack(Job, job),
    done,
    result: done ? outcomeOf(job, response) : undefined,
  };
}

function outcomeOf(job: Job, response: Any): Operation['result'] {
  if (job.state === JobState.SUCCEEDED) return { $case: 'response', value: response };
  const missing =
    job.state === JobState.CANCELLED
      ? new Cancelled('JOB_CANCELLED', 'the job was cancelled')
      : new Internal('INTERNAL', 'the job failed without an error on record');
  return { $case: 'error', value: job.error ?? statusOf(missing) };
}

function responseOf({ result }: Job): Any {
  const value: unknown = result;
  if (value === undefined || value === null) return pack(Empty, {});
  if (typeof value === 'object' && !Array.isArray(value)) return pack(Struct, Struct.wrap({ ...value }));
  return pack(Value, Value.wrap(value));
}

interface Codec<T> {
  readonly $type: string;
  encode(message: T): { finish(): Uint8Array };
}

function pack<T>(type: Codec<T>, message: T): Any {
  return { typeUrl: `type.googleapis.com/${type.$type}`, value: Buffer.from(type.encode(message).finish()) };
}
