/**
 * Which operation a VM's phase allows, and which phase may follow which. One table each; whoever moves a VM asks
 * here, so that no two places can disagree.
 */
import { Precondition } from '@nephos/service';
import type { Drift } from './drift.ts';
import type { OperationKind, Phase, Vm } from './vm.ts';

const next: Readonly<Record<Phase, readonly Phase[]>> = {
  creating: ['live', 'failed', 'expunging'],
  live: ['deleted', 'expunging'],
  failed: ['deleted', 'expunging'],
  deleted: ['live', 'expunging'],
  expunging: [],
};

const allowed: Readonly<Record<OperationKind, readonly Phase[]>> = {
  'vm.create': ['creating'],
  'vm.start': ['live'],
  'vm.stop': ['live'],
  'vm.reboot': ['live'],
  'vm.delete': ['live', 'failed'],
  'vm.undelete': ['deleted'],
  'vm.expunge': ['creating', 'live', 'failed', 'deleted', 'expunging'],
  'vm.clean': ['failed', 'deleted'],
};

/** The VM in another phase. The same phase is no move. Throws `Precondition` STATE_FORBIDS. */
export function moveTo(vm: Vm, phase: Phase): Vm {
  if (vm.phase === phase) return vm;
  if (!next[vm.phase].includes(phase)) throw forbids(vm, `a VM that is ${vm.phase} cannot become ${phase}`);
  return { ...vm, phase };
}

/** Throws `Precondition` STATE_FORBIDS where the VM's phase, or what is seen of it, forbids the operation. */
export function checkAllowed(kind: OperationKind, vm: Vm): void {
  if (!allowed[kind].includes(vm.phase)) throw forbids(vm, `${kind} is not possible while it is ${vm.phase}`);
  if (kind === 'vm.undelete' && vm.failure)
    throw forbids(vm, 'it was never whole: there is nothing to recover');
  if (kind === 'vm.clean' && !vm.failure) throw forbids(vm, 'it was whole: what it holds is not waste');
  if (kind === 'vm.reboot' && vm.status.state !== 'running') {
    throw forbids(vm, `it has to run to be rebooted, and is ${vm.status.state}`);
  }
}

/** Throws `Precondition` STATE_FORBIDS where what the reconciler set out to do is not what the VM needs now. */
export function checkNeeded(kind: OperationKind, vm: Vm, drift: Drift | undefined): void {
  if (drift?.kind === 'submit' && drift.operation === kind) return;
  throw forbids(vm, `${kind} is not needed any more`);
}

function forbids(vm: Vm, description: string): Precondition {
  const subject = `vms/${vm.header.uid}`;
  return new Precondition('STATE_FORBIDS', `${subject}: ${description}`, {
    metadata: { state: vm.status.state },
    preconditions: [{ type: 'STATE_FORBIDS', subject, description }],
  });
}
