/**
 * What is seen of a machine, and what QEMU's words mean. Pure. "Gone" is said only on proof by whoever calls;
 * nothing here turns a silence into a state.
 */

export type MachineState = 'running' | 'paused' | 'powered-off' | 'gone' | 'unknown';
export type MachineCause = 'requested' | 'guest' | 'crashed' | 'host-shutdown' | 'lost' | 'none';

export interface MachineObservation {
  /** Of a machine that is not ours: the UUID it shows. */
  readonly vmUid: string;
  /** Empty for a machine that is not ours. */
  readonly incarnationUid: string;
  readonly generation: bigint;
  readonly state: MachineState;
  readonly cause: MachineCause;
  /** False for a machine that nobody here started: told, never touched. */
  readonly managed: boolean;
  /** For people. */
  readonly message: string;
  /** Wall time, for people. */
  readonly at: Date;
  readonly pinned: Readonly<Record<string, string>>;
}

/** State and why, without whose it is. */
export interface Seen {
  readonly state: MachineState;
  readonly cause: MachineCause;
  readonly message: string;
}

/**
 * `runState` is what `query-status` answers. `ending` is what was asked of the machine before, if anything:
 * a guest that shuts down because we pressed its power button did not do so of its own.
 */
export function seenInRunState(runState: string, ending: MachineCause | undefined): Seen {
  switch (runState) {
    case 'running':
      return { state: 'running', cause: 'requested', message: '' };
    case 'shutdown':
      return ending
        ? { state: 'powered-off', cause: ending, message: 'the guest shut down when asked to' }
        : { state: 'powered-off', cause: 'guest', message: 'the guest shut itself down' };
    case 'guest-panicked':
      return { state: 'paused', cause: 'guest', message: 'the guest panicked' };
    case 'io-error':
      return { state: 'paused', cause: 'none', message: 'a disk failed or is full' };
    case 'internal-error':
      return { state: 'paused', cause: 'crashed', message: 'QEMU could not go on (internal error)' };
    case 'paused':
    case 'prelaunch':
    case 'debug':
    case 'watchdog':
    case 'suspended':
    case 'save-vm':
    case 'restore-vm':
    case 'inmigrate':
    case 'postmigrate':
    case 'finish-migrate':
    case 'colo':
      return { state: 'paused', cause: 'none', message: `QEMU says ${runState}` };
    default:
      return { state: 'unknown', cause: 'none', message: `QEMU says ${runState}` };
  }
}

/**
 * Why a machine whose process has ended did so. `shutdownReason` is from QEMU's last SHUTDOWN event, `exit` how
 * the process ended where that could be seen.
 */
export function seenGone(facts: {
  readonly ending: MachineCause | undefined;
  readonly shutdownReason: string | undefined;
  readonly exit: string | undefined;
  readonly lastWords: string;
}): Seen {
  const said = [facts.exit, facts.lastWords].filter(Boolean).join(': ');
  if (facts.ending) return { state: 'gone', cause: facts.ending, message: said };
  if (facts.shutdownReason === 'host-signal') {
    return { state: 'gone', cause: 'host-shutdown', message: 'QEMU was told to end by a signal' };
  }
  if (facts.shutdownReason === 'host-qmp-quit') {
    return { state: 'gone', cause: 'none', message: 'QEMU was told to quit by somebody else' };
  }
  return { state: 'gone', cause: 'crashed', message: said || 'QEMU ended without a word' };
}
