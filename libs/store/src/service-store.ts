// A service's own store: opened from its configuration, closed with it, watched by its health.
// Owner: the service that calls it. A store that failed ends the process: what runs on could acknowledge nothing.
import type { ServiceContext } from '@nephos/service';
import type { Store } from './collection.ts';
import { openStore } from './open.ts';

/** Throws `Unavailable` where another process holds it, `Invalid` for a URL that no adapter serves. */
export async function openServiceStore(ctx: ServiceContext): Promise<Store> {
  const store = await openStore({ url: ctx.config.store, clock: ctx.clock, log: ctx.log });
  ctx.resources.use(store);
  ctx.health('store', () => store.ping());
  void store.failure.then((error) => ctx.fail(error));
  return store;
}
