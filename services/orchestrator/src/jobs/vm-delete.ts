/**
 * `vm.delete` (AIP-164): its power is cut, its room but for the disk given back, its name freed; it can be recovered
 * until its purge time. Cancelled before it is stopped, it runs on as before.
 */
import { moveTo } from '../domain/vm/phase.ts';
import type { Vm } from '../domain/vm/vm.ts';
import { stopRun } from './machine.ts';
import { defineVmJob, type Operation } from './operation.ts';
import { intendPower, releaseAllButDisk } from './room.ts';
import { setState } from './root-volume.ts';

export const vmDelete = defineVmJob({
  kind: 'vm.delete',
  version: 1,
  timeoutMs: 10 * 60_000,
  async work(operation) {
    const phase = await operation.job.step('look', async () => (await operation.vm()).phase);
    if (phase === 'live') {
      await intendPower(operation, 'off');
      await stopRun(operation, 'stop', 0);
      await releaseAllButDisk(operation);
    }
    await trash(operation, phase);
  },
});

/** The go: from here on it is deleted. */
async function trash(operation: Operation, from: Vm['phase']): Promise<void> {
  const { clock, retentionMs } = operation.deps;
  await operation.job.step(
    'trash',
    async () => {
      const vm = await operation.vm();
      if (from === 'live') await setState(operation, vm.rootVolumeUid, 'trashed');
      const now = clock.now();
      const deleteTime = now.toISOString();
      const purgeTime = new Date(now.getTime() + retentionMs).toISOString();
      await operation.change((current) => {
        const { nameKey: _free, ...rest } = moveTo(current, 'deleted');
        return { ...rest, header: { ...rest.header, deleteTime, purgeTime } };
      });
    },
    { undo: () => untrash(operation) },
  );
}

/** The volume of a VM that stays is no trash. */
async function untrash(operation: Operation): Promise<void> {
  const { phase, rootVolumeUid } = await operation.vm();
  const volume = await operation.deps.volumes.get(rootVolumeUid);
  if (phase === 'live' && volume?.value.state === 'trashed')
    await setState(operation, rootVolumeUid, 'ready');
}
