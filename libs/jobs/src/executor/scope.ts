/** The world of a run in an executor: the author's code runs as the job's submitter, in the job's trace. */

import type { JobAssignment } from '@nephos/proto/nephos/jobs/v1/executor';
import { type Around, runAs, type ServiceContext } from '@nephos/service';
import { SpanStatusCode } from '@opentelemetry/api';
import type { Logger } from 'pino';
import type { RunScope } from '../run/job-run.ts';
import type { HeldJob } from './held-job.ts';

export function scopeOf(
  ctx: ServiceContext,
  held: HeldJob,
  assignment: JobAssignment,
  around: readonly Around[],
): RunScope & { readonly log: Logger } {
  const { uid, root, requestId, principal } = assignment;
  const onBehalfOf = assignment.onBehalfOf === '' ? undefined : assignment.onBehalfOf;
  const traceparent = assignment.traceparent === '' ? undefined : assignment.traceparent;
  let log: Logger | undefined;

  const wrapped = <R>(name: string, work: () => Promise<R>): Promise<R> => {
    if (around.length === 0) return work();
    const invocation = { kind: 'step', name, requestId, principal, input: undefined } as const;
    const chain = around.reduceRight<() => Promise<R>>((next, wrap) => () => wrap(invocation, next), work);
    return chain();
  };

  return {
    ledger: held,
    clock: ctx.clock,
    stop: held.stop,
    // Most jobs log nothing: the child is made when it is asked for.
    get log() {
      log ??= ctx.log.child({ job: uid, root, requestId, type: assignment.type });
      return log;
    },
    within: (name, signal, work) =>
      runAs({ requestId, principal, onBehalfOf, jobId: uid, signal, traceparent }, () =>
        name === 'run' ? work() : traced(ctx, name, uid, () => wrapped(name, work)),
      ),
  };
}

function traced<R>(ctx: ServiceContext, name: string, job: string, work: () => Promise<R>): Promise<R> {
  return ctx.telemetry.tracer.startActiveSpan(name, { attributes: { 'nephos.job': job } }, async (span) => {
    try {
      return await work();
    } catch (error) {
      span.setStatus({
        code: SpanStatusCode.ERROR,
        message: error instanceof Error ? error.message : String(error),
      });
      throw error;
    } finally {
      span.end();
    }
  });
}
