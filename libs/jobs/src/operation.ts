/** A job as the long-running operation that it is (google.longrunning, AIP-151). Pure. */
import type { Operation } from '@nephos/proto/google/longrunning/operations';
import type { Any } from '@nephos/proto/google/protobuf/any';
import { Job, JobState } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Cancelled, Internal, Invalid, isUid } from '@nephos/service';
import { isOver } from './client.ts';
import { pack, responseOf } from './response.ts';
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
 * `metadata` is the job; `response` what it gave: the message that the result names, else a Struct, Value or Empty.
 */
export function operationOf(job: Job, response: Any = responseOf(job.result)): Operation {
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
