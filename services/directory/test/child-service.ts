/**
 * A service in a process of its own, for tests that kill it: says its instance id once it serves. SIGUSR2 blocks its
 * event loop for some seconds.
 */
import { joinDirectory } from '@nephos/directory';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { defineService, run } from '@nephos/service';
import { answering } from './stack.ts';

const blockedMs = 4000;
process.on('SIGUSR2', () => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, blockedMs);
});

await run(
  defineService({
    name: 'orchestrator',
    version: '1.0.0',
    config: {},
    async start(ctx) {
      await joinDirectory(ctx, { leaseMs: Number(process.env['LEASE_MS']) });
      ctx.server.add(OperationsDefinition, answering(ctx.instanceId));
      ctx.lifecycle.onServing(() => {
        process.stdout.write(`${ctx.instanceId}\n`);
      });
    },
  }),
);
