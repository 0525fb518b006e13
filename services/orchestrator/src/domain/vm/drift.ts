/**
 * What has to be done about a VM that nobody works on, judged from the records alone (DESIGN section 9: reconcilers
 * take no input). Pure; one answer at a time, the next pass sees what it changed.
 */
import type { Cause, Incarnation, Link, OperationKind, Vm } from './vm.ts';

export type Drift =
  /** Submit this operation; `streak`: how often in a row the VM ended by itself, for the pause before it. */
  | { readonly kind: 'submit'; readonly operation: OperationKind; readonly streak: number }
  /** The guest's own power-off becomes the intent. */
  | { readonly kind: 'follow-power-off' };

export interface DriftFacts {
  readonly incarnation?: Incarnation | undefined;
  readonly link?: Link | undefined;
  /** RFC 3339, the orchestrator's wall clock: only deletes are timed by it. */
  readonly now: string;
}

/** Undefined when all is as intended, or nothing can be done before its host is back. */
export function driftOf(vm: Vm, facts: DriftFacts): Drift | undefined {
  switch (vm.phase) {
    case 'creating':
      return submit('vm.create');
    case 'failed':
      return vm.hostUid !== undefined && facts.link === 'up' ? submit('vm.clean') : undefined;
    case 'deleted':
      if (purgeable(vm, facts.now)) return submit('vm.expunge');
      return vm.failure && vm.hostUid !== undefined && facts.link === 'up' ? submit('vm.clean') : undefined;
    case 'expunging':
      return submit('vm.expunge');
    case 'live':
      return facts.link === 'up' ? driftOfLive(vm, facts.incarnation) : undefined;
  }
}

function driftOfLive(vm: Vm, run: Incarnation | undefined): Drift | undefined {
  if (run?.state === 'unknown') return undefined;
  if (vm.spec.desiredPower === 'off') {
    const settled = (run === undefined || run.state === 'gone') && vm.claimed !== 'all';
    return settled ? undefined : submit('vm.stop');
  }
  if (run === undefined) return submit('vm.start');
  if (run.state === 'starting') return submit('vm.start', run.streak);
  if (run.state === 'running' || run.state === 'paused') return undefined;
  if (run.cause === 'guest' && vm.spec.powerPolicy === 'follow') return { kind: 'follow-power-off' };
  if (run.cause !== 'requested' && vm.spec.powerPolicy === 'alert') return undefined;
  return submit('vm.start', byItself.has(run.cause) ? run.streak + 1 : 0);
}

/** Endings that are nobody's doing but the guest's: a VM that repeats them is started with growing pauses. */
const byItself: ReadonlySet<Cause> = new Set(['crashed', 'guest', 'unspecified']);

function submit(operation: OperationKind, streak = 0): Drift {
  return { kind: 'submit', operation, streak };
}

function purgeable({ header }: Vm, now: string): boolean {
  return header.purgeTime !== undefined && header.purgeTime <= now;
}

/** How long to wait before an attempt, in milliseconds: none before the first, then doubling to five minutes. */
export function pauseBefore(attempt: number): number {
  return attempt <= 1 ? 0 : Math.min(1000 * 2 ** (attempt - 2), 5 * 60_000);
}
