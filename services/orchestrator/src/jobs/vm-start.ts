/**
 * `vm.start`: desired power becomes on, and the machine runs on the host that holds its volume. Running already is
 * success. Unwound, the machine is stopped, its room given back, and the desired power is what it was.
 */
import { Precondition } from '@nephos/service';
import { currentRun, isRunning, mintRun, placed, startRun, stopRun } from './machine.ts';
import { defineVmJob, type Operation } from './operation.ts';
import { claimAll, intendPower } from './room.ts';

export const vmStart = defineVmJob({
  kind: 'vm.start',
  version: 1,
  timeoutMs: 15 * 60_000,
  async work(operation) {
    const found = await look(operation);
    await intendPower(operation, 'on');
    if (found === 'running') return;
    operation.job.progress(20, 'claiming room on its host');
    await claimAll(operation);
    if (found === 'powered-off') await stopRun(operation, 'clear', 0);
    operation.job.progress(50, 'starting the machine');
    await startRun(operation, await mintRun(operation), { discard: false });
  },
});

/** What there is to do, decided once. Throws `Precondition` HOST_NOT_READY where the host is known to be away. */
function look(operation: Operation): Promise<'running' | 'powered-off' | 'down'> {
  return operation.job.step('look', async () => {
    const vm = await operation.vm();
    const run = await currentRun(operation, vm);
    const hostUid = placed(vm);
    if ((await operation.deps.links.linkNow(hostUid)) === 'disconnected') {
      const description = 'its agent is away: the VM is started once it is back and desired power is on';
      throw new Precondition('HOST_NOT_READY', `hosts/${hostUid}: ${description}`, {
        preconditions: [{ type: 'HOST_NOT_READY', subject: `hosts/${hostUid}`, description }],
      });
    }
    if (isRunning(run)) return 'running';
    return run?.state === 'powered-off' ? 'powered-off' : 'down';
  });
}
