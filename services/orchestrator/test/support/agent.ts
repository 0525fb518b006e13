/**
 * A host agent for the tests of jobs, made of the real parts: the plugin library's services and fences over one
 * simulated host on a store of its own. Between services and drivers lies a tap, where a test sees which verbs were
 * let through and makes the next ones fail.
 */
import {
  FenceGuard,
  type HypervisorDriver,
  type StorageDriver,
  serveHypervisor,
  serveStorage,
} from '@nephos/plugin';
import { SimulatedHypervisor, SimulatedStorage, SimulatedWorld } from '@nephos/plugin/simulated';
import {
  HypervisorServiceDefinition,
  type MachineObservation,
  MachineObservation_State as State,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import { StorageServiceDefinition } from '@nephos/proto/nephos/plugin/v1/storage';
import {
  defineService,
  formatAddress,
  type NephosError,
  type RunningService,
  startService,
  systemClock,
} from '@nephos/service';
import { openStore } from '@nephos/store';

type Verb = keyof HypervisorDriver | keyof StorageDriver;
type Tap = (verb: Verb) => void;

const size = {
  hypervisor: 'simulated',
  accelerator: 'none',
  acceleratorReason: '',
  cpus: 16,
  memoryBytes: 2n ** 30n,
  diskBytes: 2n ** 40n,
  architecture: 'x86_64',
};
const info = {
  name: 'simulated',
  version: '0.1.0',
  backendVersion: '',
  contractVersions: ['v1'],
  configSchema: '{}',
};

export class TestAgent implements AsyncDisposable {
  readonly host: string;
  /** The host itself, past fences and tap: for what happens there without the platform. */
  readonly hypervisor: SimulatedHypervisor;
  readonly storage: SimulatedStorage;
  /** What the next calls of a verb throw; `times` counts down. */
  readonly faults = new Map<Verb, { error: () => NephosError; times: number }>();
  /** The verbs that fences let through. */
  readonly calls: Verb[] = [];
  readonly #resources = new AsyncDisposableStack();
  #service: RunningService | undefined;

  private constructor(world: SimulatedWorld) {
    this.host = world.hosts[0] ?? '';
    this.hypervisor = new SimulatedHypervisor(world, size, info);
    this.storage = new SimulatedStorage(world, size.diskBytes, () => Promise.resolve(), info);
  }

  static async open(folder: string): Promise<TestAgent> {
    const store = await openStore({ url: `sqlite://${folder}/agent.db`, clock: systemClock });
    const world = await SimulatedWorld.open(store, 1, systemClock, { latencyMs: 0, faultRate: 0, seed: 1 });
    const agent = new TestAgent(world);
    agent.#resources.use(store);
    await agent.#serve(await FenceGuard.open(store, systemClock));
    return agent;
  }

  get address(): string {
    return formatAddress(this.#running.address);
  }

  get clients() {
    return this.#running.context.clients;
  }

  observation(vmUid: string): Promise<MachineObservation> {
    return this.hypervisor.get(this.host, vmUid);
  }

  async machines(): Promise<string[]> {
    return (await this.hypervisor.list(this.host)).map(({ vmUid }) => vmUid);
  }

  async running(): Promise<string[]> {
    const machines = await this.hypervisor.list(this.host);
    return machines.filter(({ state }) => state === State.RUNNING).map(({ vmUid }) => vmUid);
  }

  async volumes(): Promise<string[]> {
    return (await this.storage.listVolumes(this.host)).map(({ volumeUid }) => volumeUid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  get #running(): RunningService {
    if (!this.#service) throw new Error('the agent was not started');
    return this.#service;
  }

  async #serve(guard: FenceGuard): Promise<void> {
    const tap: Tap = (verb) => this.#enter(verb);
    const hypervisor = tappedHypervisor(this.hypervisor, tap);
    const storage = tappedStorage(this.storage, tap);
    const draining = new AbortController().signal;
    const definition = defineService({
      name: 'host-agent',
      version: '0.1.0',
      config: {},
      start: async ({ server, clock, resources }) => {
        const parts = { driver: hypervisor, guard, clock, agentId: 'a', resources, draining };
        server.add(HypervisorServiceDefinition, serveHypervisor(parts));
        const hosts = () => hypervisor.capabilities();
        server.add(StorageServiceDefinition, serveStorage({ driver: storage, guard, hosts }));
      },
    });
    const env = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s' };
    const service = await startService(definition, { env });
    this.#service = service;
    this.#resources.defer(() => service.stop({ graceMs: 0 }));
  }

  #enter(verb: Verb): void {
    this.calls.push(verb);
    const fault = this.faults.get(verb);
    if (fault === undefined || fault.times === 0) return;
    fault.times -= 1;
    throw fault.error();
  }
}

function tappedHypervisor(driver: HypervisorDriver, tap: Tap): HypervisorDriver {
  return {
    info: driver.info,
    capabilities: () => driver.capabilities(),
    start: async (...asked) => {
      tap('start');
      return await driver.start(...asked);
    },
    stop: async (...asked) => {
      tap('stop');
      return await driver.stop(...asked);
    },
    reboot: async (...asked) => {
      tap('reboot');
      return await driver.reboot(...asked);
    },
    remove: async (...asked) => {
      tap('remove');
      await driver.remove(...asked);
    },
    get: async (...asked) => {
      tap('get');
      return await driver.get(...asked);
    },
    list: (host) => driver.list(host),
    shutDownGuests: (graceMs) => driver.shutDownGuests(graceMs),
    onObservation: (listener) => driver.onObservation(listener),
    readConsole: (...asked) => driver.readConsole(...asked),
  };
}

function tappedStorage(driver: StorageDriver, tap: Tap): StorageDriver {
  return {
    info: driver.info,
    capabilities: () => driver.capabilities(),
    ensureTemplate: async (...asked) => {
      tap('ensureTemplate');
      await driver.ensureTemplate(...asked);
    },
    createVolume: async (...asked) => {
      tap('createVolume');
      return await driver.createVolume(...asked);
    },
    deleteVolume: async (...asked) => {
      tap('deleteVolume');
      await driver.deleteVolume(...asked);
    },
    getVolume: (...asked) => driver.getVolume(...asked),
    listVolumes: (host) => driver.listVolumes(host),
    recover: () => driver.recover(),
  };
}
