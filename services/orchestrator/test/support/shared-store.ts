/**
 * One real store as several instances share it: it says of itself that others may write it too, which is what makes
 * instances follow each other's writes, wait for leases and believe no picture of their own.
 */
import type { Store } from '@nephos/store';

/** `store` as one instance of several sees it; the store itself is disposed by whoever opened it. */
export function sharedView(store: Store): Store {
  return {
    collection: (definition) => store.collection(definition),
    outbox: store.outbox,
    exclusive: false,
    failure: store.failure,
    ping: () => store.ping(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
