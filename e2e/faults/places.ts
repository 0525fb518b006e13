/**
 * Where a fault can strike, and which seed strikes where. Pure. A place is a step of an operation on a VM, one
 * side of it, and a part of the platform that is killed there.
 */
import type { Hit, Rule, ServiceName } from '@nephos/testing';

export type Part = ServiceName | 'nats-server';

export const parts: readonly Part[] = [
  'directory',
  'job-control',
  'template',
  'orchestrator',
  'host-agent',
  'nats-server',
];

/** The operations that are struck, in their order: those of a VM's life, and the undoing of a create. */
export const operations = [
  { operation: 'create', job: 'vm.create', side: 'step' },
  { operation: 'stop', job: 'vm.stop', side: 'step' },
  { operation: 'delete', job: 'vm.delete', side: 'step' },
  { operation: 'expunge', job: 'vm.expunge', side: 'step' },
  { operation: 'cancelled create', job: 'vm.create', side: 'undo' },
] as const;
export type OperationName = (typeof operations)[number]['operation'];

export interface Step {
  readonly operation: OperationName;
  readonly step: string;
}

export interface Kill extends Step {
  readonly when: 'before' | 'after';
  readonly part: Part;
  /** Milliseconds until it is started again. */
  readonly downMs: number;
  /** Whether the step goes on while the part is still down. */
  readonly meanwhile: boolean;
}

/** The steps that undisturbed operations passed, each once. */
export function stepsOf(hits: readonly Hit[]): Step[] {
  return operations.flatMap(({ operation, job, side }) => {
    const passed = hits.filter(({ point, facts }) => point === `job.${side}.before` && facts['job'] === job);
    return [...new Set(passed.map(({ facts }) => String(facts['step'])))].map((step) => ({
      operation,
      step,
    }));
  });
}

/** What the failpoint at the place is called, and what tells it from others. */
export function failpointOf({ operation, step, when }: Kill): Pick<Rule, 'point' | 'facts'> {
  const { job = '', side = 'step' } = operations.find((each) => each.operation === operation) ?? {};
  return { point: `job.${side}.${when}`, facts: { job, step } };
}

/**
 * One kill for each operation. Seeds that follow one another go through the steps in turn, each time with
 * the next part and side, so that a few cover every step and every part, and as many as there are places cover each
 * place once.
 */
export function killsOf(seed: number, steps: readonly Step[]): Kill[] {
  return operations.map(({ operation }, index) => {
    const own = steps.filter((step) => step.operation === operation);
    const at = seed % own.length;
    const step = own[at];
    const round = Math.floor(seed / own.length);
    const side = (at + index + stride * round) % sides.length;
    const chosen = sides[side];
    if (!step || !chosen) throw new Error(`${operation} has no steps`);
    const next = random(seed * operations.length + index);
    return { ...step, ...chosen, downMs: Math.floor(next() * 300), meanwhile: next() < 0.5 };
  });
}

/** Each part, before and after; the stride shares no factor with their number, so that rounds reach all of them. */
const sides = parts.flatMap((part) => [
  { part, when: 'before' as const },
  { part, when: 'after' as const },
]);
const stride = 5;

/** Mulberry32: small and seeded. */
function random(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
