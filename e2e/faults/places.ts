/**
 * Where a fault can strike, and which seed strikes where. Pure. A place is a step of one of the operations of a VM's
 * life, one side of it, and a part of the platform that is killed there.
 */
import type { Hit, ServiceName } from '@nephos/testing';

export type Part = ServiceName | 'nats-server';

export const parts: readonly Part[] = [
  'directory',
  'job-control',
  'template',
  'orchestrator',
  'host-agent',
  'nats-server',
];

/** The operations of a VM's life, in their order. */
export const operations = ['vm.create', 'vm.stop', 'vm.delete', 'vm.expunge'] as const;
export type OperationName = (typeof operations)[number];

export interface Step {
  readonly job: OperationName;
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

/** The steps that an undisturbed life passed, each once. */
export function stepsOf(hits: readonly Hit[]): Step[] {
  const passed = hits.filter(({ point }) => point === 'job.step.before');
  return operations.flatMap((job) => {
    const names = passed
      .filter(({ facts }) => facts['job'] === job)
      .map(({ facts }) => String(facts['step']));
    return [...new Set(names)].map((step) => ({ job, step }));
  });
}

/**
 * One kill for each operation of a life. Seeds that follow one another go through the steps in turn, each time with
 * the next part and side, so that a few cover every step and every part, and as many as there are places cover each
 * place once.
 */
export function killsOf(seed: number, steps: readonly Step[]): Kill[] {
  return operations.map((job, index) => {
    const own = steps.filter((step) => step.job === job);
    const at = seed % own.length;
    const step = own[at];
    const round = Math.floor(seed / own.length);
    const side = (at + index + stride * round) % sides.length;
    const chosen = sides[side];
    if (!step || !chosen) throw new Error(`${job} has no steps`);
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
