/** From a submission to the first record of a job. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { JobEventLevel, type NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { checkLabels, checkOwner, type FieldViolation, Invalid, isUid } from '@nephos/service';
import { laneOf, partitionOf } from './lane.ts';
import type { EventLevel, JobRecord } from './record.ts';

/** Where a new job stands among others. */
export interface Standing {
  readonly root: string;
  readonly parent?: string;
  readonly epoch: number;
  readonly place: number;
  /** RFC 3339. */
  readonly now: string;
}

const typeForm = /^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+$/;
const mostInput = 256 * 1024;
const longestTimeoutMs = 366 * 24 * 3600 * 1000;
const defaultTimeoutMs = 3600 * 1000;

const levels: Readonly<Record<number, EventLevel>> = {
  [JobEventLevel.UNSPECIFIED]: 'outcome',
  [JobEventLevel.OUTCOME]: 'outcome',
  [JobEventLevel.ALL]: 'all',
  [JobEventLevel.NONE]: 'none',
};

const fieldNames = {
  principal: 'principal',
  onBehalfOf: 'on_behalf_of',
  requestId: 'request_id',
  traceparent: 'traceparent',
} as const;

/** Throws `Invalid` with all that is wrong. */
export function checkSubmission(job: NewJob): void {
  const faults: FieldViolation[] = [];
  const check = (right: boolean, field: string, description: string): void => {
    if (!right) faults.push({ field: `job.${field}`, description });
  };
  check(isUid(job.uid), 'uid', 'is required: a UUIDv7');
  check(
    typeForm.test(job.type) && job.type.length <= 64,
    'type',
    'is required: `entity.verb` of a-z, 0-9 and -',
  );
  check(job.definitionVersion >= 1, 'definition_version', 'is required: from 1 on');
  check(job.displayName.length <= 128, 'display_name', 'has at most 128 characters');
  check(job.target.length <= 256, 'target', 'has at most 256 characters');
  check(job.zone.length <= 128, 'zone', 'has at most 128 characters');
  for (const field of ['principal', 'onBehalfOf', 'requestId', 'traceparent'] as const)
    check(job[field].length <= 256, fieldNames[field], 'has at most 256 characters');
  const timeoutMs = timeoutOf(job);
  check(timeoutMs > 0 && timeoutMs <= longestTimeoutMs, 'timeout', 'is above 0 and at most a year');
  check(levels[job.eventLevel] !== undefined, 'event_level', 'is ALL, OUTCOME or NONE');
  if (faults.length > 0) {
    const text = faults.map(({ field, description }) => `${field} ${description}`).join('; ');
    throw new Invalid('FIELD_INVALID', text, { fields: faults });
  }
  checkOwner(job.owner, 'job.owner');
  checkLabels(job.labels, 'job.labels');
}

/** The record of a checked submission. Throws `Invalid` when the input is too large. */
export function recordOf(job: NewJob, standing: Standing): JobRecord {
  const partition = partitionOf(standing.root);
  const input = JSON.stringify(job.input ?? {});
  if (Buffer.byteLength(input) > mostInput)
    throw new Invalid('FIELD_INVALID', 'job.input is larger than 256 KiB');
  const { parent, root, now } = standing;
  return {
    header: {
      uid: job.uid,
      displayName: job.displayName,
      owner: job.owner,
      zone: job.zone,
      labels: job.labels,
      annotations: {},
      createTime: now,
      updateTime: now,
    },
    type: job.type,
    version: job.definitionVersion,
    state: 'queued',
    partition,
    epoch: standing.epoch,
    lane: laneOf('ready', partition, job.type),
    order: standing.place,
    root,
    tree: `jobs/${root}`,
    ...(parent !== undefined && { parent }),
    ...(job.target !== '' && { target: job.target }),
    input,
    timeoutMs: timeoutOf(job),
    level: levels[job.eventLevel] ?? 'outcome',
    principal: job.principal,
    onBehalfOf: job.onBehalfOf,
    requestId: job.requestId,
    traceparent: job.traceparent,
    attempt: 0,
  };
}

/** True when the submission asks for what the record is of: then it is a repetition. */
export function isRepetition(record: JobRecord, job: NewJob, parent: string | undefined): boolean {
  return (
    record.type === job.type &&
    record.parent === parent &&
    // A Struct is a map: in what order its fields come says nothing.
    isDeepStrictEqual(JSON.parse(record.input), JSON.parse(JSON.stringify(job.input ?? {}))) &&
    record.header.owner === job.owner &&
    (record.target ?? '') === job.target
  );
}

function timeoutOf({ timeout }: NewJob): number {
  return timeout === undefined ? defaultTimeoutMs : Number(timeout.seconds) * 1000 + timeout.nanos / 1e6;
}
