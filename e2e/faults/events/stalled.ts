/**
 * Two relays of one outbox, each a process: one stands still for longer than the broker remembers ids, at a place
 * where it is about to publish or at any moment, and goes on with what it knew.
 */
import { openEntity } from '@nephos/events';
import { systemClock } from '@nephos/service';
import { openStore } from '@nephos/store';
import { streamOptions, zoneEntity } from './entity.ts';
import { writeUntil } from './load.ts';
import { type Choices, seeded } from './seeded.ts';
import { serveStore } from './shared-store.ts';
import { end, type Findings, told, type World } from './world.ts';

const stallMs = streamOptions.dedupMs * 1.6;

/** With `clock: 'frozen'` the relays cannot tell that they stood still. */
export async function relayStalled(
  world: World,
  seed: number,
  choices: Choices,
  clock: 'true' | 'frozen' = 'true',
): Promise<Findings> {
  await using store = await openStore({ url: world.storeUrl, clock: systemClock });
  const zones = await openEntity(store, zoneEntity, { source: 'source', clock: systemClock });
  await using _ = world.subscribe();
  const relays = await Promise.all([0, 1].map(() => world.source(seed, 'shared', clock)));
  using served = new DisposableStack();
  for (const [at, relay] of relays.entries()) {
    served.use(serveStore(store, relay, (id) => (id.charCodeAt(1) + id.length) % 2 === at));
  }
  await Promise.all(relays.map((relay) => told(relay, 'ready')));
  const rest = new AbortController();
  const load = writeUntil(rest.signal, zones, seeded(seed), systemClock);
  for (let round = 0; round < 2; round += 1) {
    const relay = relays[choices.below(2)];
    if (choices.chance(0.7)) await stallAtPublish(world, relay?.pid ?? 0, 1 + choices.below(300));
    else {
      await systemClock.sleep(200 + choices.below(800));
      await stall(relay?.pid ?? 0);
    }
    await systemClock.sleep(choices.below(300));
  }
  rest.abort();
  await load;
  // Once a window has passed, what one relay told in one and the other piece by piece is looked at as well.
  await systemClock.sleep(stallMs);
  while ((await store.outbox.pending({ limit: 1 })).length > 0) await systemClock.sleep(50);
  await systemClock.sleep(500);
  const findings = await world.findings({ store });
  for (const relay of relays) await end(relay);
  return findings;
}

/** The relay has made up its mind to publish, and then the world goes on without it. */
async function stallAtPublish(world: World, pid: number, nth: number): Promise<void> {
  const stalled = Promise.withResolvers<void>();
  let passed = 0;
  world.control.reset();
  world.control.add({
    point: 'relay.publish',
    action: async (hit): Promise<'go'> => {
      if (hit.pid === pid && (passed += 1) === nth) {
        await stall(pid);
        stalled.resolve();
      }
      return 'go';
    },
  });
  await stalled.promise;
  world.control.reset();
}

async function stall(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  try {
    await systemClock.sleep(stallMs);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}
