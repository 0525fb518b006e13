/**
 * The world that the simulated hypervisor plays: hosts, machines and volumes that exist only as records, so that a
 * machine outlives its agent as a real one does. Owner: the agent whose store it is. Knobs add latency and faults,
 * repeatably.
 */
import { type Clock, Unavailable } from '@nephos/service';
import { type Collection, defineCollection, type Store } from '@nephos/store';

export interface SimulatedMachine {
  readonly host: string;
  readonly vmUid: string;
  readonly incarnationUid: string;
  readonly generation: string;
  readonly hostname: string;
  readonly state: 'running' | 'powered-off' | 'gone';
  readonly cause: 'requested' | 'guest' | 'crashed' | 'host-shutdown';
  readonly rebootUid: string;
  readonly console: string;
}

export interface SimulatedVolume {
  readonly host: string;
  readonly volumeUid: string;
  readonly sizeBytes: number;
  readonly templateSha256: string;
}

const machines = defineCollection<SimulatedMachine>({
  name: 'simulated_machines',
  schemaVersion: 1,
  indexes: { host: { fields: ['host'] } },
});

const volumes = defineCollection<SimulatedVolume>({
  name: 'simulated_volumes',
  schemaVersion: 1,
  indexes: { host: { fields: ['host'] } },
});

export interface Knobs {
  /** How long each verb takes, in milliseconds. */
  readonly latencyMs: number;
  /** Share of verbs that fail with `Unavailable`, 0 to 1; half of those fail after the deed was done. */
  readonly faultRate: number;
  readonly seed: number;
}

export class SimulatedWorld {
  readonly hosts: readonly string[];
  readonly machines: Collection<SimulatedMachine>;
  readonly volumes: Collection<SimulatedVolume>;
  readonly #clock: Clock;
  readonly #knobs: Knobs;
  #random: number;

  private constructor(
    hosts: readonly string[],
    collections: Pick<SimulatedWorld, 'machines' | 'volumes'>,
    clock: Clock,
    knobs: Knobs,
  ) {
    this.hosts = hosts;
    this.machines = collections.machines;
    this.volumes = collections.volumes;
    this.#clock = clock;
    this.#knobs = knobs;
    this.#random = knobs.seed;
  }

  static async open(store: Store, hostCount: number, clock: Clock, knobs: Knobs): Promise<SimulatedWorld> {
    const digits = Math.max(3, String(hostCount).length);
    const hosts = Array.from(
      { length: hostCount },
      (_, index) => `sim-${String(index + 1).padStart(digits, '0')}`,
    );
    const collections = {
      machines: await store.collection(machines),
      volumes: await store.collection(volumes),
    };
    return new SimulatedWorld(hosts, collections, clock, knobs);
  }

  now(): Date {
    return this.#clock.now();
  }

  /** Does a deed with the latency and the faults asked for. */
  async act<T>(deed: () => Promise<T>): Promise<T> {
    const { latencyMs, faultRate } = this.#knobs;
    if (latencyMs > 0) await this.#clock.sleep(latencyMs);
    const fails = this.#next() < faultRate;
    if (fails && this.#next() < 0.5) throw fault('before');
    const result = await deed();
    if (fails) throw fault('after');
    return result;
  }

  async all<T extends SimulatedMachine | SimulatedVolume>(
    collection: Collection<T>,
    host: string,
  ): Promise<T[]> {
    const found: T[] = [];
    let cursor: string | undefined;
    do {
      const page = await collection.find({
        where: { host },
        limit: 500,
        ...(cursor !== undefined && { cursor }),
      });
      found.push(...page.items.map(({ value }) => value));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return found;
  }

  /** Mulberry32: small, seeded, good enough to choose faults by. */
  #next(): number {
    this.#random = (this.#random + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#random ^ (this.#random >>> 15), this.#random | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}

function fault(when: 'before' | 'after'): Unavailable {
  return new Unavailable('HYPERVISOR_FAILED', `a simulated fault, ${when} the deed`);
}
