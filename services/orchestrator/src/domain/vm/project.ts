/**
 * The projector's core: from a VM's intent and phase, its current run, the operation that holds it and its host's
 * link to the one status that the world sees. Pure and total: any combination gives a status.
 * Rules: only proof makes `stopped`; a host that is silent for long makes `unknown`, never `stopped`; `reason` is
 * empty exactly when all is as intended, or on its way there.
 */
import type { Failure, Holder, Incarnation, Link, Vm, VmState, VmStatus } from './vm.ts';

/** What is known beside the VM itself. */
export interface Seen {
  /** The VM's current run, if its record is there. */
  readonly incarnation?: Incarnation | undefined;
  readonly holder?: Holder | undefined;
  /** Of the VM's host; undefined while it has none. */
  readonly link?: Link | undefined;
}

/** A VM without the status that is folded from it. */
export type Intent = Omit<Vm, 'status'>;

interface Judgement {
  readonly state: VmState;
  readonly failure?: Failure;
}

export function projectVm(vm: Intent, seen: Seen): VmStatus {
  const { state, failure } = judge(vm, seen);
  const bootTime = state === 'running' || state === 'unknown' ? seen.incarnation?.bootTime : undefined;
  return {
    state,
    host: vm.hostUid === undefined ? '' : `hosts/${vm.hostUid}`,
    rootVolume: vm.hostUid === undefined && vm.phase !== 'live' ? '' : `volumes/${vm.rootVolumeUid}`,
    incarnationUid: vm.incarnation?.uid ?? '',
    generation: vm.incarnation?.generation ?? 0,
    operation: seen.holder ? `operations/${seen.holder.jobUid}` : '',
    reason: failure?.reason ?? '',
    message: failure?.message ?? '',
    ...(bootTime !== undefined && { bootTime }),
  };
}

function judge(vm: Intent, seen: Seen): Judgement {
  switch (vm.phase) {
    case 'failed':
      return {
        state: 'failed',
        failure: vm.failure ?? { reason: 'OPERATION_FAILED', message: 'its creation failed' },
      };
    case 'deleted':
      return { state: 'deleted' };
    case 'expunging':
      return { state: 'expunging' };
    case 'creating':
      return { state: vm.hostUid !== undefined && vm.spec.desiredPower === 'on' ? 'starting' : 'pending' };
    case 'live':
      return judgeLive(vm, seen);
  }
}

function judgeLive(vm: Intent, seen: Seen): Judgement {
  const run = seen.incarnation;
  if (run === undefined || run.state === 'gone' || run.state === 'powered-off') return judgeEnded(vm, seen);
  if (seen.link === 'disconnected') {
    return because('unknown', 'HOST_DISCONNECTED', 'its host cannot be asked: it may run or not');
  }
  if (run.state === 'unknown')
    return because(
      'unknown',
      'OBSERVATION_INCONCLUSIVE',
      run.message || 'its host cannot tell whether it runs',
    );
  if (seen.holder?.kind === 'vm.stop' || seen.holder?.kind === 'vm.delete') return { state: 'stopping' };
  if (run.state === 'starting') return { state: 'starting' };
  if (run.state === 'paused') return because('running', 'PAUSED', run.message || 'it is paused');
  if (vm.spec.desiredPower === 'off' && !seen.holder) {
    return because('running', 'POWER_OFF_PENDING', 'it should be off; the next attempt follows');
  }
  return { state: 'running' };
}

/** Nothing of it runs, and there is proof. */
function judgeEnded(vm: Intent, { incarnation: run, holder }: Seen): Judgement {
  if (holder?.kind === 'vm.start') return { state: 'starting' };
  if (vm.spec.desiredPower === 'off') {
    return run?.cause === 'guest'
      ? because('stopped', 'GUEST_SHUTDOWN', endings.guest.message)
      : { state: 'stopped' };
  }
  const { reason, message } = run ? endings[run.cause] : endings.requested;
  return because('stopped', reason, run?.message ? `${message}: ${run.message}` : message);
}

const endings: Readonly<Record<Incarnation['cause'], Failure>> = {
  unspecified: { reason: 'STOPPED_UNEXPECTEDLY', message: 'it stopped, and nobody said why' },
  requested: { reason: 'START_PENDING', message: 'it should run; the next attempt follows' },
  guest: { reason: 'GUEST_SHUTDOWN', message: 'the guest powered itself off' },
  crashed: { reason: 'CRASHED', message: 'its hypervisor process died' },
  'host-shutdown': {
    reason: 'HOST_SHUTDOWN',
    message: 'its host was shut down; it is started again when the host is back',
  },
  lost: { reason: 'LOST', message: 'it was found gone after its host or agent was away' },
};

function because(state: VmState, reason: string, message: string): Judgement {
  return { state, failure: { reason, message } };
}

/** Whether two statuses say the same. */
export function sameStatus(a: VmStatus, b: VmStatus): boolean {
  const keys = Object.keys({ ...a, ...b }) as (keyof VmStatus)[];
  return keys.every((key) => a[key] === b[key]);
}
