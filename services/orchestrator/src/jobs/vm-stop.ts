/**
 * `vm.stop`: desired power becomes off, the guest is asked to shut down, and after the grace its power is cut.
 * Stopped already is success. A stop that succeeded is a fact and is not undone; one that did not leaves the desired
 * power as it was.
 */
import { stopRun } from './machine.ts';
import { defineVmJob } from './operation.ts';
import { intendPower, releaseAllButDisk } from './room.ts';

export const vmStop = defineVmJob({
  kind: 'vm.stop',
  version: 1,
  timeoutMs: 30 * 60_000,
  async work(operation) {
    await intendPower(operation, 'off');
    operation.job.progress(20, 'asking the guest to shut down');
    await stopRun(operation, 'stop', operation.job.input.graceMs ?? 0);
    operation.job.progress(90, 'giving its room back');
    await releaseAllButDisk(operation);
  },
});
