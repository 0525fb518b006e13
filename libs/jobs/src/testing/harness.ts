/**
 * The generic saga harnesses (DESIGN section 8): each runs a definition many times, once for each place where
 * something can go wrong, each time in a fresh world, and throws on the first broken promise.
 * The world says what leaked; the harness knows nothing of what the job does.
 */
import { Invalid } from '@nephos/service';
import type { JobDefinition } from '../definition.ts';
import { type Ended, type Fault, MemoryJob, type MemoryJobOptions } from './recorder.ts';

/** A fresh world for one run. */
export interface World<I extends object, D> extends MemoryJobOptions<D> {
  readonly input: I;
  /** What is there that should not be, after the job was undone. Empty: nothing. */
  leaks(): Promise<readonly string[]> | readonly string[];
  /** What is wrong after the job succeeded, e.g. a thing made twice. Empty: nothing. */
  faults?(): Promise<readonly string[]> | readonly string[];
  dispose?(): Promise<void> | void;
}

export type MakeWorld<I extends object, D> = () => Promise<World<I, D>> | World<I, D>;

/** What was done at one place, for a test's own assertions. */
export interface HarnessRun {
  readonly place: string;
  readonly ended: Ended;
  readonly trace: readonly string[];
}

/** Each step's function is run twice in a row: as after a crash between its effect and its record. */
export async function repeatEachStep<I extends object, R, D>(
  definition: JobDefinition<I, R, D>,
  makeWorld: MakeWorld<I, D>,
): Promise<HarnessRun[]> {
  const runs: HarnessRun[] = [];
  for (const { name: step } of await stepsOf(definition, makeWorld)) {
    const fault: Fault = async (place, work) => {
      if (place === step) await work();
      return await work();
    };
    runs.push(await inWorld(definition, makeWorld, { place: `${step} twice`, fault, expected: 'succeeded' }));
  }
  return runs;
}

/**
 * Each step fails for good, once before and once after its effect: everything is undone and nothing leaks. Then
 * the same with the first try of each undo failing, and with the undo running twice. A step without an undo (the
 * final "go") is not failed after its effect: nobody promised to take that back.
 */
export async function failEachStep<I extends object, R, D>(
  definition: JobDefinition<I, R, D>,
  makeWorld: MakeWorld<I, D>,
): Promise<HarnessRun[]> {
  const runs: HarnessRun[] = [];
  const broken = (): Invalid => new Invalid('FIELD_INVALID', 'broken by the harness');
  for (const { name: step, undoable } of await stepsOf(definition, makeWorld)) {
    for (const when of undoable ? bothSides : beforeOnly) {
      for (const undo of ['smoothly', 'at the second try', 'twice'] as const) {
        const undos = undoFault(undo);
        const fault: Fault = async (place, work, crash) => {
          if (place !== step) return await undos(place, work, crash);
          if (when === 'after') await work();
          throw broken();
        };
        const place = `${step} failing ${when} its effect, undone ${undo}`;
        runs.push(await inWorld(definition, makeWorld, { place, fault, expected: 'undone' }));
      }
    }
  }
  return runs;
}

/**
 * The process dies at each step, before and after its effect, before it is recorded. Resumed, the job succeeds;
 * cancelled instead, it is undone. While it undoes, the process dies at each undo in turn.
 */
export async function crashEachStep<I extends object, R, D>(
  definition: JobDefinition<I, R, D>,
  makeWorld: MakeWorld<I, D>,
): Promise<HarnessRun[]> {
  const runs: HarnessRun[] = [];
  for (const { name: step, undoable } of await stepsOf(definition, makeWorld)) {
    for (const when of bothSides) {
      const place = `${step} dying ${when} its effect`;
      const resumed = {
        place: `${place}, resumed`,
        fault: dyingOnce(step, when),
        expected: 'succeeded',
      } as const;
      runs.push(await inWorld(definition, makeWorld, resumed));
      if (when === 'after' && !undoable) continue;
      const cancelled = {
        place: `${place}, cancelled`,
        fault: dyingOnce(step, when),
        expected: 'undone',
      } as const;
      runs.push(await inWorld(definition, makeWorld, { ...cancelled, cancelAt: step }));
    }
  }
  return runs;
}

/** A definition with the worlds to prove it in. */
export interface Saga {
  readonly type: string;
  /** All three harnesses. Throws on the first broken promise. */
  prove(): Promise<HarnessRun[]>;
}

/** What a service's `test/sagas.ts` opens: every definition that it has, so that none goes unproved. */
export interface OpenSagas extends AsyncDisposable {
  readonly sagas: readonly Saga[];
}

export function saga<I extends object, R, D>(
  definition: JobDefinition<I, R, D>,
  makeWorld: MakeWorld<I, D>,
): Saga {
  return {
    type: definition.type,
    prove: async () => [
      ...(await repeatEachStep(definition, makeWorld)),
      ...(await failEachStep(definition, makeWorld)),
      ...(await crashEachStep(definition, makeWorld)),
    ],
  };
}

const bothSides = ['before', 'after'] as const;
const beforeOnly = ['before'] as const;

interface FoundStep {
  readonly name: string;
  readonly undoable: boolean;
}

interface Plan {
  readonly place: string;
  readonly fault: Fault;
  readonly expected: 'succeeded' | 'undone';
  /** Cancelled when it has died there; each undo then dies once too, after its effect. */
  readonly cancelAt?: string;
}

function dyingOnce(step: string, when: 'before' | 'after'): Fault {
  let died = false;
  return async (place, work, crash) => {
    if (place !== step || died) return await work();
    died = true;
    if (when === 'after') await work();
    return await crash();
  };
}

function undoFault(how: 'smoothly' | 'at the second try' | 'twice'): Fault {
  const seen = new Set<string>();
  return async (place, work) => {
    if (!place.endsWith('/undo') || how === 'smoothly' || seen.has(place)) return await work();
    seen.add(place);
    if (how === 'at the second try') throw new Error('the harness broke the first try');
    await work();
    return await work();
  };
}

async function stepsOf<I extends object, R, D>(
  definition: JobDefinition<I, R, D>,
  makeWorld: MakeWorld<I, D>,
): Promise<readonly FoundStep[]> {
  const world = await makeWorld();
  try {
    const job = new MemoryJob(definition, world.input, world);
    const ended = await job.run();
    if (ended.state !== 'succeeded')
      throw broken(definition, 'undisturbed', [`it ${ended.state}: ${ended.error.message}`]);
    await check(definition, 'undisturbed', () => world.faults?.() ?? []);
    const names = [...job.steps.keys()];
    job.cancel();
    await job.run();
    return names.map((name) => ({ name, undoable: job.trace.includes(`${name}/undo`) }));
  } finally {
    await world.dispose?.();
  }
}

async function inWorld<I extends object, R, D>(
  definition: JobDefinition<I, R, D>,
  makeWorld: MakeWorld<I, D>,
  plan: Plan,
): Promise<HarnessRun> {
  const world = await makeWorld();
  try {
    const job = new MemoryJob(definition, world.input, world);
    const ended = await job.run(
      plan.cancelAt === undefined ? plan.fault : cancelling(job, plan.fault, plan.cancelAt),
    );
    const undone = ended.state === 'failed' || ended.state === 'cancelled';
    if (plan.expected === 'succeeded' ? ended.state !== 'succeeded' : !undone) {
      const why = ended.state === 'succeeded' ? 'succeeded' : `${ended.state}: ${ended.error.message}`;
      throw broken(definition, plan.place, [`it ${why}`]);
    }
    await check(definition, plan.place, () =>
      plan.expected === 'succeeded' ? (world.faults?.() ?? []) : world.leaks(),
    );
    return { place: plan.place, ended, trace: job.trace };
  } finally {
    await world.dispose?.();
  }
}

function cancelling(job: { cancel(): void }, fault: Fault, step: string): Fault {
  const dead = new Set<string>();
  return async (place, work, crash) => {
    if (place === step) return await fault(place, work, cancelledCrash(job, crash));
    if (!place.endsWith('/undo') || dead.has(place)) return await work();
    dead.add(place);
    await work();
    return await crash();
  };
}

function cancelledCrash(job: { cancel(): void }, crash: () => Promise<never>): () => Promise<never> {
  return () => {
    job.cancel();
    return crash();
  };
}

type Check = () => Promise<readonly string[]> | readonly string[];

async function check(definition: { readonly type: string }, place: string, found: Check): Promise<void> {
  const problems = await found();
  if (problems.length > 0) throw broken(definition, place, problems);
}

function broken(definition: { readonly type: string }, place: string, problems: readonly string[]): Error {
  return new Error(`${definition.type}, ${place}: ${problems.join('; ')}`);
}
