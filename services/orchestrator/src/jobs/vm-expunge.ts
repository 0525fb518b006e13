/**
 * `vm.expunge`: the VM and its root volume are removed for good. Nothing is undone: once the VM is `expunging` it
 * only goes forward, and the reconciler submits what is left to do. A host that is away for long does not hold it up:
 * what is left there is written into the VM's lease record, and `vm.clean` removes it when the host is back.
 */
import { NotFound } from '@nephos/service';
import { moveTo } from '../domain/vm/phase.ts';
import type { Vm } from '../domain/vm/vm.ts';
import { orMissing } from '../or-missing.ts';
import { removeMachine, sequences, stopAnyRun, stopRun } from './machine.ts';
import { defineVmJob, type Operation } from './operation.ts';
import { dropRecord, removeDisk, setState } from './root-volume.ts';

export const vmExpunge = defineVmJob({
  kind: 'vm.expunge',
  version: 1,
  timeoutMs: 15 * 60_000,
  async work(operation) {
    await intend(operation);
    operation.job.progress(20, 'removing what its host holds of it');
    const away = await hostIsAway(operation);
    if (!away) {
      await stopRun(operation, 'stop', 0);
      await removeFromHost(operation);
    }
    operation.job.progress(80, 'removing its records');
    await bury(operation, away);
  },
});

async function intend(operation: Operation): Promise<void> {
  await operation.job.step('intend', async () => {
    await operation.change((vm) => {
      const { nameKey: _free, ...rest } = moveTo(vm, 'expunging');
      return { ...rest, spec: { ...rest.spec, desiredPower: 'off' } };
    });
  });
}

/** Decided once: a host that was never placed on, or has been away for long, is not asked. */
function hostIsAway(operation: Operation): Promise<boolean> {
  return operation.job.step('look', async () => {
    const { hostUid } = await operation.vm();
    return hostUid === undefined || (await operation.deps.links.linkNow(hostUid)) === 'disconnected';
  });
}

async function removeFromHost(operation: Operation): Promise<void> {
  const { job, deps } = operation;
  await job.step('machine', async ({ signal }) => {
    const { hostUid } = await operation.vm();
    if (hostUid === undefined) return;
    // One that the records take for gone would keep the machine from being removed.
    await stopAnyRun(operation, hostUid, { sequence: sequences.remove, signal });
    await removeMachine(operation, hostUid, undefined, signal);
  });
  await job.step('disk', async ({ signal }) => {
    const { hostUid, rootVolumeUid } = await operation.vm();
    if (hostUid === undefined || !(await deps.volumes.get(rootVolumeUid))) return;
    await removeDisk(operation, hostUid, rootVolumeUid, { signal });
  });
}

/** Gives back the room and removes the records, the VM's last: until then a repeat finds its way from it. */
async function bury(operation: Operation, away: boolean): Promise<void> {
  const { deps, vmUid } = operation;
  await operation.job.step('bury', async () => {
    const vm = await orMissing(operation.vm());
    if (!vm) return;
    const { owner, zone } = vm.header;
    const hostUid = vm.hostUid ?? '';
    const at = deps.clock.now().toISOString();
    const owed = away && hostUid !== '' && { owedBy: hostUid };
    await deps.leases.bury(vmUid, { hostUid, volumeUid: vm.rootVolumeUid, owner, zone, at, ...owed });
    await deps.capacity.release(vmUid);
    await buryVolume(operation, vm);
    await deps.incarnations.forget(vmUid);
    await deps.vms.remove(vmUid).catch((error: unknown) => {
      if (!(error instanceof NotFound)) throw error;
    });
  });
}

async function buryVolume(operation: Operation, { rootVolumeUid }: Vm): Promise<void> {
  const volume = await operation.deps.volumes.get(rootVolumeUid);
  if (!volume) return;
  const { state } = volume.value;
  if (state !== 'allocated' && state !== 'expunged') {
    await setState(operation, rootVolumeUid, 'expunging');
    await setState(operation, rootVolumeUid, 'expunged');
  }
  await dropRecord(operation, rootVolumeUid);
}
