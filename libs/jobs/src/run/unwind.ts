/**
 * Undoes steps, last first, each until it is undone and recorded as such.
 * A crash leaves the record of those undone; the others are undone by whoever replays the job.
 */
import { failpoint, pauseAfter } from '@nephos/service';
import type { RetryPolicy } from '../definition.ts';
import { statusOf } from '../status.ts';
import type { RunScope } from './job-run.ts';
import type { Asked } from './steps.ts';
import { fromText, toText } from './values.ts';

/** Tries of one undo before a person is asked. */
const undoAttempts = 5;
const longestPauseMs = 10_000;

export interface UnwindOptions {
  readonly scope: RunScope;
  readonly definition: { readonly type: string; readonly retry: RetryPolicy };
}

/** Gives undefined, or why it cannot go on. Steps in `given` are recorded as undone without doing anything. */
export async function undoAll(
  asked: readonly Asked[],
  given: ReadonlySet<string>,
  options: UnwindOptions,
): Promise<string | undefined> {
  for (const step of asked.toReversed()) {
    if (step.undo === undefined || step.recorded?.undone === true) continue;
    const failure = given.has(step.name) ? undefined : await undoOne(step, options);
    if (failure !== undefined) return `the undo of step ${step.name} keeps failing: ${failure}`;
    await recordUndone(step, options.scope);
  }
  return undefined;
}

async function undoOne(step: Asked, { scope, definition }: UnwindOptions): Promise<string | undefined> {
  const facts = { job: definition.type, step: step.name };
  const { recorded, undo } = step;
  const input = recorded === undefined ? step.input : fromText(recorded.input);
  const result =
    recorded === undefined || recorded.error !== undefined ? undefined : fromText(recorded.result);
  for (let attempt = 1; ; attempt += 1) {
    scope.ledger.undoStarted(step.name);
    try {
      await scope.within(`${definition.type}/${step.name}/undo`, undefined, async () => {
        await failpoint('job.undo.before', facts);
        await undo?.(input as never, result as never);
        await failpoint('job.undo.after', facts);
      });
      return undefined;
    } catch (error) {
      scope.log.warn({ err: error, step: step.name, attempt }, 'an undo failed');
      if (attempt >= undoAttempts) return statusOf(error).message;
      const firstMs = definition.retry.backoffMs;
      await scope.clock.sleep(pauseAfter(attempt, { firstMs, maxMs: Math.max(firstMs, longestPauseMs) }));
    }
  }
}

async function recordUndone(step: Asked, scope: RunScope): Promise<void> {
  const now = BigInt(scope.clock.now().getTime());
  const started = {
    name: step.name,
    position: step.position,
    input: toText(step.input, `the input of step ${step.name}`),
    result: '',
    error: undefined,
    attempt: 0,
    startTime: now,
    endTime: now,
  };
  const undone = { ...started, ...step.recorded, undone: true };
  await scope.ledger.recordUndone(undone);
  step.recorded = undone;
}
