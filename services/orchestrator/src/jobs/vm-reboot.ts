/** `vm.reboot`: resets the running machine, once. There is nothing to undo. */
import { rebootRun } from './machine.ts';
import { defineVmJob } from './operation.ts';

export const vmReboot = defineVmJob({
  kind: 'vm.reboot',
  version: 1,
  timeoutMs: 5 * 60_000,
  work: rebootRun,
});
