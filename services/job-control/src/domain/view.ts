/** The public message of a job: its record, and what is known only in memory folded in. Pure. */
import {
  type Job,
  JobBlockReason,
  JobEventLevel,
  JobState,
  type JobStep,
  JobStepState,
} from '@nephos/proto/nephos/jobs/v1/jobs';
import { headerMessage } from '@nephos/service';
import { statusMessage } from './errors.ts';
import type { BlockReason, ErrorRecord, EventLevel, JobRecord, StepRecord, StoredState } from './record.ts';

/** What only memory knows of a job. */
export interface LiveFacts {
  /** The executor instance that holds it. */
  readonly executor: string | undefined;
  /** Steps and undos under way, or failed and to be tried again. */
  readonly steps: ReadonlyMap<string, StepUnderWay>;
  readonly progress: { readonly percent: number; readonly message: string } | undefined;
  /** When it times out. */
  readonly deadline: Date | undefined;
}

export interface StepUnderWay {
  readonly state: JobStepState;
  readonly startedAt: number;
  readonly error?: ErrorRecord;
}

const states: Readonly<Record<StoredState, JobState>> = {
  queued: JobState.QUEUED,
  suspended: JobState.SUSPENDED,
  unwinding: JobState.UNWINDING,
  blocked: JobState.BLOCKED,
  succeeded: JobState.SUCCEEDED,
  failed: JobState.FAILED,
  cancelled: JobState.CANCELLED,
};

export const blockReasons: Readonly<Record<BlockReason, JobBlockReason>> = {
  'version-mismatch': JobBlockReason.VERSION_MISMATCH,
  'step-mismatch': JobBlockReason.STEP_MISMATCH,
  'undo-failed': JobBlockReason.UNDO_FAILED,
  'executors-lost': JobBlockReason.EXECUTORS_LOST,
};

export const eventLevels: Readonly<Record<EventLevel, JobEventLevel>> = {
  all: JobEventLevel.ALL,
  outcome: JobEventLevel.OUTCOME,
  none: JobEventLevel.NONE,
};

function jobName(uid: string): string {
  return `jobs/${uid}`;
}

export function jobMessage(record: JobRecord, revision: number, live?: LiveFacts): Job {
  const { block } = record;
  return {
    header: headerMessage('jobs', record.header, revision),
    type: record.type,
    definitionVersion: record.version,
    state:
      live?.executor !== undefined && record.state === 'queued' ? JobState.RUNNING : states[record.state],
    parent: record.parent === undefined ? '' : jobName(record.parent),
    root: jobName(record.root),
    target: record.target ?? '',
    input: jsonOf(record.input) as { [key: string]: unknown },
    result: record.result === undefined ? undefined : jsonOf(record.result),
    error: record.error && statusMessage(record.error),
    progress: live?.progress ?? record.progress,
    steps: stepsOf(record, live),
    attempt: record.attempt + (live?.executor === undefined ? 0 : 1),
    nextAttemptTime: dateOf(record.nextAttemptAt),
    startTime: dateOf(record.startedAt),
    endTime: dateOf(record.endedAt),
    deadline: live?.deadline,
    cancelRequested: record.cancelRequested ?? false,
    executor: live?.executor ?? '',
    principal: record.principal,
    onBehalfOf: record.onBehalfOf,
    requestId: record.requestId,
    traceparent: record.traceparent,
    waits: (record.waits ?? []).map((uid) => ({ wait: { $case: 'job', value: jobName(uid) } })),
    children: (record.children ?? []).map(jobName),
    block: block && { reason: blockReasons[block.reason], message: block.message, time: new Date(block.at) },
    eventLevel: eventLevels[record.level],
  };
}

function stepsOf(record: JobRecord, live: LiveFacts | undefined): JobStep[] {
  const steps = (record.steps ?? []).map((step) => stepOf(step, live?.steps.get(step.name)));
  const known = new Set(record.steps?.map(({ name }) => name));
  for (const [name, { state, startedAt, error }] of live?.steps ?? []) {
    if (known.has(name)) continue;
    steps.push({
      name,
      state,
      input: undefined,
      result: undefined,
      error: error && statusMessage(error),
      startTime: new Date(startedAt),
      attempt: record.attempt + 1,
    });
  }
  return steps;
}

function stepOf(step: StepRecord, live: StepUnderWay | undefined): JobStep {
  return {
    name: step.name,
    state: step.undone === true ? JobStepState.UNDONE : (live?.state ?? finalState(step)),
    input: jsonOf(step.input),
    result: jsonOf(step.result),
    error: step.error && statusMessage(step.error),
    startTime: new Date(step.startedAt),
    endTime: new Date(step.endedAt),
    attempt: step.attempt,
  };
}

function finalState(step: StepRecord): JobStepState {
  return step.error === undefined ? JobStepState.SUCCEEDED : JobStepState.FAILED;
}

function jsonOf(text: string): unknown {
  return text === '' ? undefined : JSON.parse(text);
}

function dateOf(ms: number | undefined): Date | undefined {
  return ms === undefined ? undefined : new Date(ms);
}
