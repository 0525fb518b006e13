/**
 * A source of events in a process of its own, to be killed, stopped and started again: writes into its own store
 * and relays, or relays what another process has in its store (`NEPHOS_STORE=shared:`).
 * With `clock: 'frozen'` time stands still for its relay, so that it takes whatever it knows for fresh: the control.
 */
import { openEntity, type Relay, startRelay } from '@nephos/events';
import { type Clock, defineService, run, type ServiceContext } from '@nephos/service';
import { openServiceStore, type Store } from '@nephos/store';
import { busOf } from './broker.ts';
import { zoneEntity } from './entity.ts';
import { writeUntil } from './load.ts';
import { seeded } from './seeded.ts';
import { sharedStore } from './shared-store.ts';

const [, , seed = '0', kind = 'own', clockKind = 'true'] = process.argv;

function clockOf({ clock }: ServiceContext): Clock {
  if (clockKind !== 'frozen') return clock;
  return {
    now: () => clock.now(),
    monotonic: () => 0,
    sleep: (ms, signal) => clock.sleep(ms, signal),
    timer: (ms, fire) => clock.timer(ms, fire),
    every: (ms, fire) => clock.every(ms, fire),
  };
}

async function relayOf(ctx: ServiceContext, store: Store): Promise<Relay> {
  const { name, log, resources } = ctx;
  const clock = clockOf(ctx);
  const bus = await busOf({ ...ctx, clock });
  return startRelay({ name, clock, log, resources }, { store, bus, pollMs: 200 });
}

/** Tells the parent, which may be gone. */
function tell(what: object): void {
  process.send?.(what, () => undefined);
}

const source = defineService({
  name: 'source',
  version: '1',
  config: {},
  async start(ctx) {
    if (kind === 'shared') {
      const relay = await relayOf(ctx, sharedStore());
      process.on('message', (message) => {
        if (message === 'report') tell({ metrics: relay.metrics });
      });
      return tell({ ready: true });
    }
    const store = await openServiceStore(ctx);
    const zones = await openEntity(store, zoneEntity, { source: ctx.name, clock: ctx.clock });
    const relay = await relayOf(ctx, store);
    const rest = new AbortController();
    ctx.background('load', async (signal) => {
      const ends = AbortSignal.any([signal, rest.signal]);
      const load = await writeUntil(ends, zones, seeded(Number(seed)), ctx.clock);
      if (signal.aborted) return;
      await relay.flush(signal);
      tell({ metrics: relay.metrics, load });
    });
    process.on('message', (message) => {
      if (message === 'rest') rest.abort();
    });
    tell({ ready: true });
  },
});

await run(source);
