/** A submission as it goes over the wire, from a definition and what the submitter says. */
import { JobEventLevel, type NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { durationOf } from '@nephos/service';
import type { JobDefinition, JobEvents } from './definition.ts';

/** On whose behalf, and as part of what, a job is submitted. */
export interface SubmissionOrigin {
  readonly principal: string;
  readonly onBehalfOf: string;
  readonly requestId: string;
  readonly traceparent: string;
}

export interface Submission<I extends object> {
  readonly uid: string;
  readonly input: I;
  readonly owner: string;
  readonly zone: string;
  readonly target: string;
  readonly displayName: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly origin: SubmissionOrigin;
}

const levels: Readonly<Record<JobEvents, JobEventLevel>> = {
  all: JobEventLevel.ALL,
  outcome: JobEventLevel.OUTCOME,
  none: JobEventLevel.NONE,
};

export function newJobOf<I extends object, R, D>(
  definition: JobDefinition<I, R, D>,
  job: Submission<I>,
): NewJob {
  const ms = definition.timeoutMs;
  return {
    uid: job.uid,
    type: definition.type,
    definitionVersion: definition.version,
    displayName: job.displayName,
    owner: job.owner,
    zone: job.zone,
    labels: { ...job.labels },
    target: job.target,
    input: { ...job.input },
    timeout: durationOf(ms),
    eventLevel: levels[definition.events],
    ...job.origin,
  };
}
