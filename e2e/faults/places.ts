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
    const names = passed.filter(({ facts }) => facts['job'] === job).map(({ facts }) => String(facts['step']));
    return [...new Set(names)].map((step) => ({ job, step }));
  });
}

/** One kill for each operation of a life. Seeds that follow one another go through the places without a repeat. */
export function killsOf(seed: number, steps: readonly Step[]): Kill[] {
  return operations.map((job, index) => {
    const places = steps
      .filter((step) => step.job === job)
      .flatMap((step) => parts.flatMap((part) => [place(step, part, 'before'), place(step, part, 'after')]));
    const order = shuffled(places, random(1000 + index));
    const chosen = order[seed % order.length];
    if (!chosen) throw new Error(`${job} has no steps`);
    const next = random(seed * operations.length + index);
    return { ...chosen, downMs: Math.floor(next() * 300), meanwhile: next() < 0.5 };
  });
}

function place(step: Step, part: Part, when: 'before' | 'after') {
  return { ...step, part, when };
}

function shuffled<T>(items: readonly T[], next: () => number): T[] {
  return items
    .map((item) => ({ item, rank: next() }))
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
}

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
