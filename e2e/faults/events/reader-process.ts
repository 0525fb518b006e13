/**
 * One of several instances of a subscriber, each a process: reads while it holds the lease, and tells its parent of
 * each event that its handler was given. The leases are in the parent's store.
 */
import { subscribeOnOne } from '@nephos/events';
import { openLeases } from '@nephos/leases';
import { defineService, run } from '@nephos/service';
import { busOf } from './broker.ts';
import { sharedStore } from './shared-store.ts';

const reader = defineService({
  name: 'reader',
  version: '1',
  config: {},
  async start(ctx) {
    const { clock, log } = ctx;
    const store = sharedStore();
    const leases = await openLeases({ store, clock, log, owner: ctx.instanceId, leaseMs: 1_500 });
    const bus = await busOf(ctx);
    subscribeOnOne(ctx, { leases, bus }, { name: 'oracle' }, async (event) => {
      const { uid: entity, firstSequence: first, sequence } = event;
      // One machine, one wall clock: the parent puts what it hears from several of us in order by it.
      process.send?.({ handled: { entity, first, sequence, at: clock.now().getTime() } }, () => undefined);
    });
    process.send?.({ ready: true }, () => undefined);
  },
});

await run(reader);
