/**
 * What an agent's report makes of a run's record. Pure.
 * A report is a fact and replaces what was believed; `starting` is a request and yields to any. Proof that it is
 * gone takes it off its host.
 */
import type { Cause, Incarnation } from './vm.ts';

/** What was seen of a run. */
export interface Sighting {
  readonly state: 'running' | 'paused' | 'powered-off' | 'gone' | 'unknown';
  readonly cause: Cause;
  readonly message: string;
}

/** The record after the report, or undefined if it says nothing new. `at`: the orchestrator's wall clock. */
export function observed(current: Incarnation, seen: Sighting, at: string): Incarnation | undefined {
  const bootTime = current.bootTime ?? (seen.state === 'running' ? at : undefined);
  const aliveOn = seen.state === 'gone' ? undefined : current.hostUid;
  const cause =
    endedBefore(current) && seen.state === 'gone' && seen.cause !== 'crashed' ? current.cause : seen.cause;
  const same =
    current.state === seen.state &&
    current.cause === cause &&
    current.message === seen.message &&
    current.bootTime === bootTime &&
    current.aliveOn === aliveOn;
  if (same) return undefined;
  const { bootTime: _boot, aliveOn: _alive, ...rest } = current;
  return {
    ...rest,
    state: seen.state,
    cause,
    message: seen.message,
    ...(bootTime !== undefined && { bootTime }),
    ...(aliveOn !== undefined && { aliveOn }),
  };
}

/** A guest that powered itself off is not "requested" because its process is cleared away afterwards. */
function endedBefore(current: Incarnation): boolean {
  return current.state === 'powered-off' || current.state === 'gone';
}

/** A new run, asked for and not seen yet. */
export function requestedRun(
  vmUid: string,
  hostUid: string,
  generation: number,
  streak: number,
): Incarnation {
  return {
    vmUid,
    hostUid,
    generation,
    state: 'starting',
    cause: 'requested',
    message: '',
    streak,
    aliveOn: hostUid,
  };
}
