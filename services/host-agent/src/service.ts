/**
 * The host agent, put together: the hypervisor and local storage of one host, or of many simulated ones. Guests
 * outlive it; it finds them again when it starts, before it answers anybody.
 */
import { joinDirectory } from '@nephos/directory';
import { FenceGuard, serveHypervisor, serveStorage } from '@nephos/plugin';
import { HypervisorServiceDefinition } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import { config, defineService } from '@nephos/service';
import { openServiceStore } from '@nephos/store';
import { agentIdentity } from './adapters/identity.ts';
import { openDrivers } from './hypervisors.ts';

const sweepMs = 60 * 60_000;
/** What cutting the power of guests that did not go, and telling of it, may take. */
const cutMs = 5_000;

/** Guests that outlast their grace must still be cut off within the agent's own drain. */
function guestsGraceMs(asked: number, drainGraceMs: number): number {
  return Math.min(asked, Math.max(0, drainGraceMs - cutMs));
}

export const hostAgent = defineService({
  name: 'host-agent',
  version: '0.1.0',
  config: {
    agentId: config.text({
      description: 'stable id of this agent; minted once and kept by default',
      default: '',
    }),
    hypervisor: config.choice(['auto', 'qemu', 'simulated'], {
      description: 'what runs machines; auto takes QEMU where it works',
      default: 'auto',
    }),
    guestMemory: config.bytes({
      description: 'memory for guests; 70% of the machine by default',
      default: 0,
    }),
    agentStopGuests: config.boolean({
      description:
        'true: guests are powered down in order when the agent stops, and run again when it is back',
      default: false,
    }),
    agentStopGrace: config.duration({
      description: 'how long guests may take for that, within NEPHOS_DRAIN_GRACE less 5 s',
      default: 20_000,
    }),
    simulatedHosts: config.integer({
      description: 'how many hosts are simulated',
      default: 3,
      min: 1,
      max: 10_000,
    }),
    simulatedCpus: config.integer({ description: 'CPU threads of each', default: 64, min: 1, max: 4096 }),
    simulatedMemory: config.bytes({ description: 'memory of each', default: 256 * 2 ** 30 }),
    simulatedLatency: config.duration({ description: 'how long each simulated verb takes', default: 0 }),
    simulatedFaultPercent: config.integer({
      description: 'how many of a hundred simulated verbs fail',
      default: 0,
      min: 0,
      max: 100,
    }),
    simulatedSeed: config.integer({ description: 'which of them', default: 1 }),
  },
  async start(ctx) {
    const { clock, lifecycle, resources, server } = ctx;
    const { simulatedLatency, simulatedFaultPercent, simulatedSeed, ...options } = ctx.config;
    const store = await openServiceStore(ctx);
    const agentId = await agentIdentity(ctx.config.data, options.agentId);
    // Before the drivers make clients: a channel made earlier knows no directory.
    await joinDirectory(ctx, { labels: { agent: agentId } });
    const knobs = {
      latencyMs: simulatedLatency,
      faultRate: simulatedFaultPercent / 100,
      seed: simulatedSeed,
    };
    const { hypervisor, storage } = await openDrivers(ctx, store, { ...options, knobs });
    const guard = await FenceGuard.open(store, clock);
    const leaving = new AbortController();
    const draining = leaving.signal;
    const guestsStop = new AbortController();
    const stopping = guestsStop.signal;

    server.add(
      HypervisorServiceDefinition,
      serveHypervisor({ driver: hypervisor, guard, clock, agentId, resources, stopping, draining }),
    );
    server.add(
      StorageServiceDefinition,
      serveStorage({ driver: storage, guard, hosts: () => hypervisor.capabilities() }),
    );
    lifecycle.onDraining(async () => {
      try {
        if (!options.agentStopGuests) return;
        // First: whoever sees the first guest gone wants it to run again, here and at once.
        guestsStop.abort();
        await hypervisor.shutDownGuests(guestsGraceMs(options.agentStopGrace, ctx.config.drainGrace));
      } finally {
        leaving.abort();
      }
    });
    ctx.background('fence sweeper', async (signal) => {
      while (!signal.aborted) {
        await guard.sweep();
        await clock.sleep(sweepMs, signal).catch(() => undefined);
      }
    });
  },
});
