/**
 * A subscription of a service with several instances: the one that holds its lease reads, the others stand by.
 * Owner: the lease `subscription/<name>` in the service's store. A stop lets handlers end and hands over what was
 * acknowledged, so that nothing comes twice; after a crash the next holder gets again what was not acknowledged. A
 * holder that stood still may run handlers beside its successor until it notices: what they write is to be safe to
 * write twice, or guarded by the entity's revision.
 */
import { holdLease, type Leases } from '@nephos/leases';
import { Conflict, type ServiceContext } from '@nephos/service';
import type { Bus } from './bus.ts';
import type { JsonObject } from './changes.ts';
import { subscribe } from './subscribe.ts';
import type { EventHandler, SubscribeOptions, Subscription } from './subscription.ts';

export interface SharedSubscription {
  /** Undefined where another instance reads. */
  readonly current: Subscription | undefined;
}

/**
 * Reads on one instance at a time, for as long as the service runs; its health check is `subscription <name>`.
 * Instances are those that share the store of the leases.
 */
export function subscribeOnOne<M = JsonObject>(
  ctx: Pick<ServiceContext, 'background' | 'health'>,
  { leases, bus }: { readonly leases: Leases; readonly bus: Bus },
  options: SubscribeOptions<M>,
  handler: EventHandler<M>,
): SharedSubscription {
  let current: Subscription | undefined;
  const name = `subscription/${options.name}`;
  // Another may begin a quarter of a lease after this one was lost.
  const lostGraceMs = leases.leaseMs / 8;
  holdLease(ctx, { leases, name }, async ({ signal }) => {
    const subscription = subscribe(bus, options, handler);
    current = subscription;
    try {
      const over = new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
      await Promise.race([over, subscription.started.then(() => over)]);
    } finally {
      current = undefined;
      const isLost = signal.reason instanceof Conflict;
      await subscription.stop(isLost ? lostGraceMs : undefined);
    }
  });
  ctx.health(`subscription ${options.name}`, () => current?.check());
  return {
    get current() {
      return current;
    },
  };
}
