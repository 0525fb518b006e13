/**
 * `vm.clean`: removes what a host still holds of a VM that failed while the host was away, or was expunged meanwhile.
 * The lease record is the proof that the machine was ours. Not there is success; nothing is undone.
 */
import { orMissing } from '../or-missing.ts';
import { removeMachine, sequences, stopAnyRun } from './machine.ts';
import { defineVmJob, type Operation } from './operation.ts';
import { offHost } from './room.ts';
import { dropRecord, removeDisk } from './root-volume.ts';

export const vmClean = defineVmJob({
  kind: 'vm.clean',
  version: 1,
  timeoutMs: 15 * 60_000,
  async work(operation) {
    const left = await whatIsLeft(operation);
    if (left === null) return;
    await operation.job.step('stop', ({ signal }) =>
      stopAnyRun(operation, left.hostUid, { sequence: sequences.clear, signal }),
    );
    await operation.job.step('machine', async ({ signal }) => {
      await removeMachine(operation, left.hostUid, undefined, signal);
    });
    await operation.job.step('disk', async ({ signal }) => {
      await removeDisk(operation, left.hostUid, left.volumeUid, { signal });
      await dropRecord(operation, left.volumeUid);
    });
    await settle(operation);
  },
});

interface Left {
  readonly hostUid: string;
  readonly volumeUid: string;
}

/** Null: nothing is. */
function whatIsLeft(operation: Operation): Promise<Left | null> {
  return operation.job.step('look', async () => {
    const vm = await orMissing(operation.vm());
    if (vm) return vm.hostUid === undefined ? null : { hostUid: vm.hostUid, volumeUid: vm.rootVolumeUid };
    const expunged = (await operation.deps.leases.get(operation.vmUid))?.expunged;
    return expunged?.owedBy ? { hostUid: expunged.owedBy, volumeUid: expunged.volumeUid } : null;
  });
}

async function settle(operation: Operation): Promise<void> {
  const { deps, vmUid } = operation;
  await operation.job.step('settle', async () => {
    await deps.capacity.release(vmUid);
    await deps.incarnations.forget(vmUid);
    if (await orMissing(operation.vm())) {
      await operation.change(offHost);
      return;
    }
    const expunged = (await deps.leases.get(vmUid))?.expunged;
    if (!expunged) return;
    const { owedBy: _paid, ...rest } = expunged;
    await deps.leases.bury(vmUid, rest);
  });
}
