/** What job-control keeps: jobs (an entity with events on the job stream) and job logs. Leases: libs/leases. */
import { defineEntity } from '@nephos/events';
import { Job } from '@nephos/proto/nephos/jobs/v1/jobs';
import { defineCollection } from '@nephos/store';
import type { JobRecord } from '../domain/record.ts';
import { jobMessage } from '../domain/view.ts';

/** Named, since queries name the index that serves them. */
export const jobIndexes = {
  /** Where open jobs wait, in order. */
  lane: { fields: ['lane', 'order'] },
  tree: { fields: ['tree'] },
  target: { fields: ['target'] },
  trouble: { fields: ['trouble'] },
  expiry: { fields: ['expiry'] },
} as const;

export const jobEntity = defineEntity<JobRecord, Job>({
  entity: 'job',
  collection: 'jobs',
  message: Job,
  store: defineCollection<JobRecord>({ name: 'jobs', schemaVersion: 1, indexes: jobIndexes }),
  toMessage: ({ value, revision }) => jobMessage(value, revision),
  place: ({ header }) => ({ owner: header.owner, zone: header.zone }),
  tree: 'jobs',
});

/** Holds the leases of the partitions. */
export const leaseCollection = 'partitions';

/** A job's own log, oldest first; bounded. */
export interface LogRecord {
  readonly root: string;
  readonly requestId: string;
  readonly traceparent: string;
  /** Lines written so far; the last one's number. */
  readonly count: number;
  readonly lines: readonly LogLine[];
}

export interface LogLine {
  readonly number: number;
  readonly at: number;
  readonly step: string;
  readonly text: string;
}

export const logCollection = defineCollection<LogRecord>({ name: 'job_logs', schemaVersion: 1, indexes: {} });
