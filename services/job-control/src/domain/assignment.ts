/** A job as it is handed to an executor, and steps between their stored and their sent form. Pure. */
import type { JobAssignment, RecordedStep } from '@nephos/proto/nephos/jobs/v1/executor';
import { errorRecord, statusMessage } from './errors.ts';
import { partitionNumber } from './lane.ts';
import type { JobRecord, StepRecord } from './record.ts';
import { eventLevels } from './view.ts';

export function assignmentOf(record: JobRecord, token: number): JobAssignment {
  const { unwind } = record;
  return {
    uid: record.header.uid,
    epoch: BigInt(record.epoch),
    token: BigInt(token),
    type: record.type,
    definitionVersion: record.version,
    input: record.input,
    attempt: record.attempt + 1,
    root: record.root,
    parent: record.parent ?? '',
    target: record.target ?? '',
    owner: record.header.owner,
    zone: record.header.zone,
    principal: record.principal,
    onBehalfOf: record.onBehalfOf,
    requestId: record.requestId,
    traceparent: record.traceparent,
    steps: (record.steps ?? []).map(stepMessage),
    unwind: unwind && { error: statusMessage(unwind.error), cancelled: unwind.cancelled },
    skipSteps: [...(record.skipSteps ?? [])],
    lenient: record.lenient ?? false,
    eventLevel: eventLevels[record.level],
    partition: partitionNumber(record.partition),
  };
}

function stepMessage(step: StepRecord): RecordedStep {
  return {
    name: step.name,
    position: step.position,
    input: step.input,
    result: step.result,
    attempt: step.attempt,
    undone: step.undone ?? false,
    startTime: BigInt(step.startedAt),
    endTime: BigInt(step.endedAt),
    error: step.error && statusMessage(step.error),
  };
}

export function stepRecord(step: RecordedStep): StepRecord {
  return {
    name: step.name,
    position: step.position,
    input: step.input,
    result: step.result,
    attempt: step.attempt,
    ...(step.undone && { undone: true }),
    ...(step.error && { error: errorRecord(step.error) }),
    startedAt: Number(step.startTime),
    endedAt: Number(step.endTime),
  };
}
