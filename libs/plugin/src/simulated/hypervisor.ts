/**
 * The simulated hypervisor: the same seam, rules and observations as QEMU, for many hosts in one process. Nothing
 * boots; what a machine says on its console is made up and says so.
 */
import {
  MachineObservation_Cause as Cause,
  type HostCapabilities,
  type MachineObservation,
  type MachineSpec,
  MachineObservation_State as State,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { PluginInfo } from '@nephos/proto/nephos/plugin/v1/plugin';
import { NotFound, Precondition } from '@nephos/service';
import type { ConsolePiece, HypervisorDriver } from '../drivers.ts';
import { KeyedQueue } from '../keyed-queue.ts';
import type { SimulatedMachine, SimulatedWorld } from './world.ts';

const states = { running: State.RUNNING, 'powered-off': State.POWERED_OFF, gone: State.GONE } as const;
const causes = {
  requested: Cause.REQUESTED,
  guest: Cause.GUEST,
  crashed: Cause.CRASHED,
  'host-shutdown': Cause.HOST_SHUTDOWN,
} as const;

export class SimulatedHypervisor implements HypervisorDriver {
  readonly info: PluginInfo;
  readonly #world: SimulatedWorld;
  readonly #capabilities: readonly HostCapabilities[];
  readonly #listeners = new Set<(observation: MachineObservation) => void>();
  /** Work on one machine is done one after the other. */
  readonly #queue = new KeyedQueue();

  constructor(world: SimulatedWorld, size: Omit<HostCapabilities, 'host'>, info: PluginInfo) {
    this.#world = world;
    this.#capabilities = world.hosts.map((host) => ({ ...size, host }));
    this.info = info;
  }

  capabilities(): readonly HostCapabilities[] {
    return this.#capabilities;
  }

  start(host: string, spec: MachineSpec): Promise<MachineObservation> {
    return this.#act(host, spec.vmUid, async () => {
      const known = await this.#find(host, spec.vmUid);
      // A run that is over is not run again: the platform asks for a new one.
      if (known?.incarnationUid === spec.incarnationUid) return this.#message(known);
      if (known?.state === 'running') {
        throw new Precondition('STATE_FORBIDS', 'another run of the machine is there still: stop it first', {
          metadata: { incarnation_uid: known.incarnationUid },
        });
      }
      for (const { volumeUid } of spec.disks) await this.#requireVolume(host, volumeUid);
      return this.#write({
        host,
        vmUid: spec.vmUid,
        incarnationUid: spec.incarnationUid,
        generation: String(spec.generation),
        hostname: spec.hostname,
        state: 'running',
        cause: 'requested',
        rebootUid: '',
        console: `(simulated: nothing booted) guest ${spec.hostname} is up\n`,
      });
    });
  }

  stop(host: string, vmUid: string, incarnationUid: string): Promise<MachineObservation> {
    return this.#act(host, vmUid, async () => {
      const known = await this.#find(host, vmUid);
      if (known === undefined) return gone(host, vmUid);
      if (known.incarnationUid !== incarnationUid || known.state === 'gone') return this.#message(known);
      return this.#write({ ...known, state: 'gone', cause: 'requested' });
    });
  }

  reboot(
    host: string,
    vmUid: string,
    incarnationUid: string,
    rebootUid: string,
  ): Promise<MachineObservation> {
    return this.#act(host, vmUid, async () => {
      const known = await this.#find(host, vmUid);
      if (known?.incarnationUid !== incarnationUid || known.state === 'gone') {
        throw new Precondition('STATE_FORBIDS', 'that run of the machine is not there to be rebooted');
      }
      if (known.rebootUid === rebootUid) return this.#message(known);
      const line = `(simulated: nothing booted) guest ${known.hostname} is up again\n`;
      return this.#write({ ...known, rebootUid, state: 'running', console: known.console + line });
    });
  }

  remove(host: string, vmUid: string): Promise<void> {
    return this.#act(host, vmUid, async () => {
      const known = await this.#find(host, vmUid);
      if (known === undefined) return;
      if (known.state === 'running') {
        throw new Precondition('STATE_FORBIDS', 'the machine runs: stop it first');
      }
      await this.#world.machines.remove(key(host, vmUid));
    });
  }

  async get(host: string, vmUid: string): Promise<MachineObservation> {
    const known = await this.#find(host, vmUid);
    return known === undefined ? gone(host, vmUid) : this.#message(known);
  }

  async list(host: string): Promise<readonly MachineObservation[]> {
    return (await this.#world.all(this.#world.machines, host)).map((machine) => this.#message(machine));
  }

  async shutDownGuests(): Promise<number> {
    const lists = await Promise.all(
      this.#world.hosts.map((host) => this.#world.all(this.#world.machines, host)),
    );
    const running = lists.flat().filter(({ state }) => state === 'running');
    await Promise.all(running.map(({ host, vmUid }) => this.#end(host, vmUid, 'gone', 'host-shutdown')));
    return running.length;
  }

  /** The guest shuts itself down, or its process dies: what the platform did not ask for. For those who test it. */
  async happen(host: string, vmUid: string, what: 'guest-power-off' | 'crash'): Promise<void> {
    const seen = await (what === 'crash'
      ? this.#end(host, vmUid, 'gone', 'crashed')
      : this.#end(host, vmUid, 'powered-off', 'guest'));
    if (!seen) throw new NotFound('RESOURCE_NOT_FOUND', `no machine ${vmUid} runs on ${host}`);
  }

  onObservation(listener: (observation: MachineObservation) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  async readConsole(host: string, vmUid: string, offset: number, maxBytes: number): Promise<ConsolePiece> {
    const text = Buffer.from((await this.#find(host, vmUid))?.console ?? '');
    const from = Math.min(text.length, Math.max(0, offset < 0 ? text.length + offset : offset));
    return { offset: from, data: text.subarray(from, from + maxBytes) };
  }

  /** Does a deed on a machine with the latency and the faults asked for. */
  #act<T>(host: string, vmUid: string, deed: () => Promise<T>): Promise<T> {
    return this.#queue.run(key(host, vmUid), () => this.#world.act(deed));
  }

  /** False where it does not run. */
  #end(
    host: string,
    vmUid: string,
    state: SimulatedMachine['state'],
    cause: SimulatedMachine['cause'],
  ): Promise<boolean> {
    return this.#queue.run(key(host, vmUid), async () => {
      const known = await this.#find(host, vmUid);
      if (known?.state !== 'running') return false;
      await this.#write({ ...known, state, cause });
      return true;
    });
  }

  async #find(host: string, vmUid: string): Promise<SimulatedMachine | undefined> {
    return (await this.#world.machines.get(key(host, vmUid)))?.value;
  }

  async #requireVolume(host: string, volumeUid: string): Promise<void> {
    if ((await this.#world.volumes.get(key(host, volumeUid))) !== undefined) return;
    throw new NotFound('RESOURCE_NOT_FOUND', `there is no volume ${volumeUid} on ${host}`);
  }

  async #write(machine: SimulatedMachine): Promise<MachineObservation> {
    const id = key(machine.host, machine.vmUid);
    const stored = await this.#world.machines.get(id);
    if (stored === undefined) await this.#world.machines.insert(id, machine);
    else await this.#world.machines.update(id, stored.revision, machine);
    const observation = this.#message(machine);
    for (const listener of this.#listeners) listener(observation);
    return observation;
  }

  #message({ host, vmUid, incarnationUid, generation, state, cause }: SimulatedMachine): MachineObservation {
    return {
      vmUid,
      incarnationUid,
      generation: BigInt(generation),
      host,
      state: states[state],
      cause: causes[cause],
      managed: true,
      message: 'simulated',
      observeTime: this.#world.now(),
      pinned: {},
    };
  }
}

/** Machines and volumes are kept by host and uid. */
export function key(host: string, uid: string): string {
  return `${host}/${uid}`;
}

function gone(host: string, vmUid: string): MachineObservation {
  return {
    vmUid,
    incarnationUid: '',
    generation: 0n,
    host,
    state: State.GONE,
    cause: Cause.UNSPECIFIED,
    managed: false,
    message: 'no such machine',
    observeTime: undefined,
    pinned: {},
  };
}
