// A service that publishes but never clears, as if it died between the two: the test kills it.
import { systemClock } from '@nephos/service';
import { openStore, type Store } from '@nephos/store';
import { connectBus, openEntity, startRelay } from '../src/index.ts';
import { context, zoneEntity } from './harness.ts';

const [, , url = '', nats = '', count = '0'] = process.argv;
const store = await openStore({ url, clock: systemClock });
const zones = await openEntity(store, zoneEntity, { source: 'test', clock: systemClock });
const never = new Promise<void>(() => undefined);
const deaf: Store = {
  collection: (definition) => store.collection(definition),
  outbox: {
    pending: (options) => store.outbox.pending(options),
    clear: () => never,
    clearAll: () => never,
    onPending: (listener) => store.outbox.onPending(listener),
    sweepTombstones: (olderThanMs) => store.outbox.sweepTombstones(olderThanMs),
  },
  exclusive: store.exclusive,
  failure: store.failure,
  ping: () => store.ping(),
  [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
};
const relay = startRelay(context, { store: deaf, bus: await connectBus({ ...context, nats }) });
for (let at = 0; at < Number(count); at += 1)
  await zones.insert(`z${at}`, { owner: 'acme', description: 'new' });
while (relay.metrics.published < Number(count)) await systemClock.sleep(5);
process.stdout.write('published\n');
