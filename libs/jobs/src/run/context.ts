/** The context that the author's `run` is given. Most of it is looked up when it is asked for: most jobs ask for little. */
import type { JobAssignment } from '@nephos/proto/nephos/jobs/v1/executor';
import type { Logger } from 'pino';
import type {
  ChildHandle,
  ChildResults,
  JobContext,
  JobDefinition,
  StepOptions,
  StepScope,
} from '../definition.ts';
import type { ChildOptions, Children } from './children.ts';
import type { RunScope } from './job-run.ts';
import type { Steps } from './steps.ts';
import { fromText } from './values.ts';

export class RunContext<I> implements JobContext<I> {
  readonly input: I;
  readonly #assignment: JobAssignment;
  readonly #scope: RunScope;
  readonly #steps: Steps;
  readonly #children: Children;

  constructor(assignment: JobAssignment, scope: RunScope, steps: Steps, children: Children) {
    this.#assignment = assignment;
    this.#scope = scope;
    this.#steps = steps;
    this.#children = children;
    this.input = fromText<I>(assignment.input === '' ? '{}' : assignment.input);
  }

  get uid(): string {
    return this.#assignment.uid;
  }

  get signal(): AbortSignal {
    return this.#scope.stop.signal;
  }

  get log(): Logger {
    return this.#scope.log;
  }

  get attempt(): number {
    return this.#assignment.attempt;
  }

  get root(): string {
    return this.#assignment.root;
  }

  get parent(): string | undefined {
    return this.#assignment.parent || undefined;
  }

  get target(): string | undefined {
    return this.#assignment.target || undefined;
  }

  get owner(): string {
    return this.#assignment.owner;
  }

  get zone(): string {
    return this.#assignment.zone;
  }

  get principal(): string {
    return this.#assignment.principal;
  }

  get onBehalfOf(): string | undefined {
    return this.#assignment.onBehalfOf || undefined;
  }

  get requestId(): string {
    return this.#assignment.requestId;
  }

  get fence(): { readonly epoch: bigint; readonly token: string } {
    return this.#scope.ledger.fence;
  }

  step<T, In = undefined>(
    name: string,
    run: (step: StepScope) => Promise<T>,
    options?: StepOptions<T, In>,
  ): Promise<T> {
    return this.#steps.step(name, run, options);
  }

  progress(percent: number, message: string): void {
    this.#scope.ledger.progress(Math.round(Math.min(100, Math.max(0, percent))), message);
  }

  child<CI extends object, CR, CD>(
    definition: JobDefinition<CI, CR, CD>,
    input: CI,
    options?: ChildOptions,
  ): Promise<ChildHandle<CR>> {
    return this.#children.start(definition, input, options);
  }

  all<const H extends readonly ChildHandle<unknown>[]>(children: H): Promise<ChildResults<H>> {
    return this.#children.all(children);
  }

  annotate(message: string): void {
    this.#scope.ledger.annotate(this.#steps.latest, message);
  }
}
