/**
 * A host agent of simulated hosts, put together from the same parts as the real one, but for its guard: that is the
 * test's to choose, so that it can hold a request back, as a slow network would, or leave the fence out.
 */
import { joinDirectory } from '@nephos/directory';
import { type Guard, serveHypervisor, serveStorage } from '@nephos/plugin';
import { SimulatedHypervisor, SimulatedStorage, SimulatedWorld } from '@nephos/plugin/simulated';
import { HypervisorServiceDefinition } from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { Fence, PluginInfo } from '@nephos/proto/nephos/plugin/v1/plugin';
import { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import { type Clock, defineService, newUid } from '@nephos/service';
import { openServiceStore, type Store } from '@nephos/store';

const info: PluginInfo = {
  name: 'simulated',
  version: '0.1.0',
  backendVersion: '',
  contractVersions: ['v1'],
  configSchema: '{}',
};
const size = {
  hypervisor: 'simulated',
  accelerator: 'none',
  acceleratorReason: '',
  cpus: 64,
  memoryBytes: 2n ** 38n,
  diskBytes: 2n ** 42n,
  architecture: 'x86_64',
};

export type OpenGuard = (store: Store, clock: Clock) => Promise<Guard>;

export function guardedAgent(openGuard: OpenGuard) {
  return defineService({
    name: 'host-agent',
    version: '0.1.0',
    config: {},
    async start(ctx) {
      const { clock, resources, server } = ctx;
      const store = await openServiceStore(ctx);
      const agentId = newUid();
      await joinDirectory(ctx, { labels: { agent: agentId } });
      const world = await SimulatedWorld.open(store, 1, clock, { latencyMs: 0, faultRate: 0, seed: 1 });
      const driver = new SimulatedHypervisor(world, size, info);
      const storage = new SimulatedStorage(world, size.diskBytes, () => Promise.resolve(), info);
      const guard = await openGuard(store, clock);
      const leaving = new AbortController();
      ctx.lifecycle.onDraining(() => leaving.abort());
      const parts = { driver, guard, clock, agentId, resources, draining: leaving.signal };
      server.add(HypervisorServiceDefinition, serveHypervisor(parts));
      server.add(
        StorageServiceDefinition,
        serveStorage({ driver: storage, guard, hosts: () => driver.capabilities() }),
      );
    },
  });
}

/** The guard that is no fence. */
export const admitAll: Guard = {
  admit: () => Promise.resolve(),
  entityGone: () => Promise.resolve(),
};

/** Holds the next request for an entity back, before any fence sees it; then it is a zombie's. */
export class HoldingGuard implements Guard {
  readonly #inner: Guard;
  #entityUid = '';
  #held = Promise.withResolvers<void>();
  #released = Promise.withResolvers<void>();
  #over = Promise.withResolvers<'admitted' | 'refused'>();

  constructor(inner: Guard) {
    this.#inner = inner;
  }

  /** Resolves once it is held. */
  hold(entityUid: string): Promise<void> {
    this.#entityUid = entityUid;
    return this.#held.promise;
  }

  /** Lets it go; tells what the fence said to it. */
  release(): Promise<'admitted' | 'refused'> {
    this.#released.resolve();
    return this.#over.promise;
  }

  async admit(fence: Fence | undefined, entityUid: string): Promise<void> {
    if (entityUid !== this.#entityUid) return await this.#inner.admit(fence, entityUid);
    this.#entityUid = '';
    this.#held.resolve();
    await this.#released.promise;
    try {
      await this.#inner.admit(fence, entityUid);
      this.#over.resolve('admitted');
    } catch (error) {
      this.#over.resolve('refused');
      throw error;
    }
  }

  entityGone(fence: Fence | undefined, entityUid: string): Promise<void> {
    return this.#inner.entityGone(fence, entityUid);
  }
}
