/**
 * `vm.create`: from an accepted intent to a VM that is whole, and runs unless told otherwise.
 * Steps: acquire, place, volume, template, disk, run, start, whole, finish. Each can be undone until `whole`, the
 * write that makes it live; from there on nothing is taken apart. Unwound, the VM is `failed` and says why, its room
 * and disk are given back; what an unreachable host still holds stays on record and is removed when it is back.
 */
import { moveTo } from '../domain/vm/phase.ts';
import type { Vm } from '../domain/vm/vm.ts';
import { mintRun, startRun } from './machine.ts';
import { defineVmJob, type Operation } from './operation.ts';
import { place, releaseAllButDisk } from './room.ts';
import { allocateVolume, createDisk, ensureImage } from './root-volume.ts';

export const vmCreate = defineVmJob({
  kind: 'vm.create',
  version: 1,
  timeoutMs: 60 * 60_000,
  async work(operation) {
    const { job } = operation;
    const power = await job.step('intent', async () => (await operation.vm()).spec.desiredPower);
    job.progress(5, 'looking for a host');
    await place(operation);
    await allocateVolume(operation);
    job.progress(20, 'bringing the image to the host');
    await ensureImage(operation);
    job.progress(60, 'making the root volume');
    await createDisk(operation);
    if (power === 'on') {
      job.progress(75, 'starting the machine');
      await startRun(operation, await mintRun(operation), { discard: true });
    }
    job.progress(95, 'done');
    await becomeLive(operation);
    if (power === 'off') await releaseAllButDisk(operation);
  },
  unwound: async (operation) => {
    const vm = await operation.vm();
    if (vm.phase !== 'creating') return;
    const { failure } = operation;
    await operation.change((now) => ({ ...moveTo(now, 'failed'), failure }));
  },
});

async function becomeLive(operation: Operation): Promise<void> {
  await operation.job.step('whole', async () => {
    await operation.change((vm: Vm) => moveTo(vm, 'live'));
  });
}
