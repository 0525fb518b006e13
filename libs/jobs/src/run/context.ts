/** Puts together the context that the author's `run` is given. */
import type { JobAssignment } from '@nephos/proto/nephos/jobs/v1/executor';
import type { JobContext } from '../definition.ts';
import type { Children } from './children.ts';
import type { RunScope } from './job-run.ts';
import type { Steps } from './steps.ts';
import { fromText } from './values.ts';

export function contextOf<I>(assignment: JobAssignment, scope: RunScope, steps: Steps, children: Children): JobContext<I> {
  const { uid, root, parent, target, onBehalfOf, owner, zone, principal, requestId } = assignment;
  return {
    uid,
    input: fromText<I>(assignment.input === '' ? '{}' : assignment.input),
    get signal() {
      return scope.stop.signal;
    },
    log: scope.log,
    attempt: assignment.attempt,
    root,
    ...(parent !== '' && { parent }),
    ...(target !== '' && { target }),
    owner,
    zone,
    principal,
    ...(onBehalfOf !== '' && { onBehalfOf }),
    requestId,
    get fence() {
      return scope.ledger.fence;
    },
    step: (name, run, options) => steps.step(name, run, options),
    progress: (percent, message) => scope.ledger.progress(Math.round(Math.min(100, Math.max(0, percent))), message),
    child: (definition, input, options) => children.start(definition, input, options),
    all: (handles) => children.all(handles),
    annotate: (message) => scope.ledger.annotate(steps.latest, message),
  };
}
