/**
 * Matches the steps that a run asks for with those on record.
 * Invariant: a step on record is never run again, and no new step runs while one on record has not been asked
 * for, except where branches run side by side. What does not fit parks the job instead of guessing.
 */
import type { RecordedStep } from '@nephos/proto/nephos/jobs/v1/executor';

/** Turns of the event loop in which a replay may still ask for a step on record: replayed steps take none. */
const patience = 20;

export class Replay {
  readonly #recorded: ReadonlyMap<string, RecordedStep>;
  readonly #unasked: Set<RecordedStep>;
  readonly #asked = new Set<string>();
  readonly #lenient: boolean;
  #position: number;

  constructor(steps: readonly RecordedStep[], lenient: boolean) {
    this.#recorded = new Map(steps.map((step) => [step.name, step]));
    this.#unasked = new Set(steps);
    this.#lenient = lenient;
    this.#position = Math.max(-1, ...steps.map((step) => step.position)) + 1;
  }

  /** The step's record, if any, and its position; undefined when the name was asked for before. */
  ask(name: string): { readonly recorded: RecordedStep | undefined; readonly position: number } | undefined {
    if (this.#asked.has(name)) return undefined;
    this.#asked.add(name);
    const recorded = this.#recorded.get(name);
    if (recorded !== undefined) this.#unasked.delete(recorded);
    return { recorded, position: recorded?.position ?? this.#position++ };
  }

  /** Steps on record that were not asked for, by name. */
  get unasked(): readonly string[] {
    return [...this.#unasked].map((step) => step.name);
  }

  /**
   * Resolves once every step on record before `position` was asked for, with undefined; with the name of one that
   * was not when the run has come to rest. `busy` says whether another branch is under way.
   */
  async inOrder(position: number, busy: () => Promise<unknown> | undefined): Promise<string | undefined> {
    if (this.#lenient) return undefined;
    for (let turn = 0; turn < patience; turn += 1) {
      if (this.#before(position) === undefined) return undefined;
      const branch = busy();
      if (branch === undefined) await eventLoopTurn();
      else {
        await branch;
        turn = 0;
      }
    }
    return this.#before(position);
  }

  /** Waits a moment for branches to ask for what is on record; gives what nobody asked for. */
  async settle(): Promise<readonly string[]> {
    for (let turn = 0; turn < patience && this.#unasked.size > 0; turn += 1) await eventLoopTurn();
    return this.unasked;
  }

  #before(position: number): string | undefined {
    for (const step of this.#unasked) if (step.position < position) return step.name;
    return undefined;
  }
}

function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
