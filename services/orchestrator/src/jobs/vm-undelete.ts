/**
 * `vm.undelete` (AIP-164): a deleted VM is live again, stopped, with its root volume and its name; refused with
 * DISPLAY_NAME_TAKEN where another took the name meanwhile.
 */
import { AlreadyExists } from '@nephos/service';
import { nameKeyOf, nameTaken } from '../domain/vm/name.ts';
import { moveTo } from '../domain/vm/phase.ts';
import type { Vm } from '../domain/vm/vm.ts';
import { defineVmJob } from './operation.ts';
import { setState } from './root-volume.ts';

export const vmUndelete = defineVmJob({
  kind: 'vm.undelete',
  version: 1,
  timeoutMs: 5 * 60_000,
  async work(operation) {
    await operation.job.step('recover', async () => {
      try {
        const { value: vm } = await operation.change(recovered);
        await setState(operation, vm.rootVolumeUid, 'ready');
      } catch (error) {
        throw error instanceof AlreadyExists ? nameTaken((await operation.vm()).header) : error;
      }
    });
  },
});

function recovered(vm: Vm): Vm {
  const { deleteTime: _deleted, purgeTime: _purge, ...header } = vm.header;
  const spec = { ...vm.spec, desiredPower: 'off' as const };
  return { ...moveTo(vm, 'live'), header, spec, nameKey: nameKeyOf(header) };
}
