/**
 * The children of one run. Their uids follow from the parent's and the position of the call, so a replay submits
 * the same ones again, which does nothing. A run is over only when all its children are.
 */
import type { ChildOutcome, JobAssignment } from '@nephos/proto/nephos/jobs/v1/executor';
import { JobState, type NewJob } from '@nephos/proto/nephos/jobs/v1/jobs';
import { Internal, Precondition } from '@nephos/service';
import type { ChildHandle, ChildResults, JobDefinition } from '../definition.ts';
import { errorOf } from '../status.ts';
import { newJobOf } from '../submission.ts';
import { childUid } from './child-uid.ts';
import type { RunScope } from './job-run.ts';
import type { Steps } from './steps.ts';
import { fromText, toText } from './values.ts';

export interface ChildOptions {
  readonly uid?: string;
  readonly target?: string;
  readonly displayName?: string;
}

export class Children {
  readonly #assignment: JobAssignment;
  readonly #scope: RunScope;
  readonly #steps: Steps;
  readonly #undoing: boolean;
  readonly #unawaited = new Set<string>();
  #count = 0;

  constructor(assignment: JobAssignment, scope: RunScope, steps: Steps, undoing: boolean) {
    this.#assignment = assignment;
    this.#scope = scope;
    this.#steps = steps;
    this.#undoing = undoing;
  }

  get count(): number {
    return this.#count;
  }

  async start<CI extends object, CR, CD>(
    definition: JobDefinition<CI, CR, CD>,
    input: CI,
    options: ChildOptions = {},
  ): Promise<ChildHandle<CR>> {
    const uid = options.uid ?? childUid(this.#assignment.uid, this.#count);
    this.#count += 1;
    this.#unawaited.add(uid);
    if (!this.#undoing) {
      this.#scope.stop.signal.throwIfAborted();
      // What job control would not take must not reach the stream: it would break it, again and again.
      toText(input, 'the input of a child');
      const { owner, zone, principal, onBehalfOf, requestId, traceparent } = this.#assignment;
      const job: NewJob = newJobOf(definition, {
        uid,
        input,
        owner,
        zone,
        target: options.target ?? '',
        displayName: options.displayName ?? '',
        origin: { principal, onBehalfOf, requestId, traceparent },
      });
      await this.#steps.track(this.#scope.ledger.submitChild(job));
    }
    return { uid, name: `jobs/${uid}` };
  }

  async all<const H extends readonly ChildHandle<unknown>[]>(handles: H): Promise<ChildResults<H>> {
    const uids = handles.map((handle) => handle.uid);
    const outcomes = await this.#outcomes(uids);
    return outcomes.map((outcome) => fromText(outcome.result)) as ChildResults<H>;
  }

  /** Waits for those that nobody waited for. */
  async rest(): Promise<void> {
    if (this.#unawaited.size > 0) await this.#outcomes([...this.#unawaited]);
  }

  async #outcomes(uids: readonly string[]): Promise<readonly ChildOutcome[]> {
    if (uids.length === 0) return [];
    if (!this.#undoing) this.#scope.stop.signal.throwIfAborted();
    const outcomes = await this.#unlessStopped(this.#scope.ledger.awaitChildren(uids));
    for (const uid of uids) this.#unawaited.delete(uid);
    const failed = outcomes.filter((outcome) => outcome.state !== JobState.SUCCEEDED);
    const first = failed[0];
    if (first === undefined) return outcomes;
    const cause =
      first.error === undefined ? new Internal('INTERNAL', 'no error is on record') : errorOf(first.error);
    throw new Precondition(
      'CHILD_FAILED',
      `${failed.length} of ${uids.length} children failed; first: ${cause.message}`,
      {
        metadata: { child: `jobs/${first.uid}`, reason: cause.reason, failed: String(failed.length) },
        cause,
      },
    );
  }

  async #unlessStopped<T>(waiting: Promise<T>): Promise<T> {
    const { signal } = this.#scope.stop;
    const stopped = Promise.withResolvers<never>();
    const stop = (): void => stopped.reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    try {
      return await Promise.race([waiting, stopped.promise]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }
}
