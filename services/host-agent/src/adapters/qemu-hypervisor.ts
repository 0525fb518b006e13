/**
 * The QEMU driver behind the plugin's seam: one host, this machine. Maps the contract's messages to the driver's
 * own types and volumes to files; holds nothing itself.
 */
import type { ConsolePiece, HypervisorDriver } from '@nephos/plugin';
import {
  MachineObservation_Cause as Cause,
  type HostCapabilities,
  type MachineObservation,
  type MachineSpec,
  MachineObservation_State as State,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { PluginInfo } from '@nephos/proto/nephos/plugin/v1/plugin';
import type { LocalVolumes } from './local/volumes.ts';
import type { QemuDriver, MachineObservation as Seen } from './qemu/index.ts';

const states = {
  running: State.RUNNING,
  paused: State.PAUSED,
  'powered-off': State.POWERED_OFF,
  gone: State.GONE,
  unknown: State.UNKNOWN,
} as const;

const causes = {
  requested: Cause.REQUESTED,
  guest: Cause.GUEST,
  crashed: Cause.CRASHED,
  'host-shutdown': Cause.HOST_SHUTDOWN,
  lost: Cause.LOST,
  none: Cause.UNSPECIFIED,
} as const;

export class QemuHypervisor implements HypervisorDriver {
  readonly info: PluginInfo;
  readonly #driver: QemuDriver;
  readonly #volumes: LocalVolumes;
  readonly #host: HostCapabilities;

  constructor(driver: QemuDriver, volumes: LocalVolumes, host: HostCapabilities, info: PluginInfo) {
    this.#driver = driver;
    this.#volumes = volumes;
    this.#host = host;
    this.info = info;
  }

  capabilities(): readonly HostCapabilities[] {
    return [this.#host];
  }

  async start(_host: string, { disks, ...machine }: MachineSpec): Promise<MachineObservation> {
    const images = await Promise.all(
      disks.map(async (disk) => ({ ...disk, image: await this.#volumes.diskImage(disk.volumeUid) })),
    );
    return this.#message(await this.#driver.start({ ...machine, disks: images }));
  }

  async stop(
    _host: string,
    vmUid: string,
    incarnationUid: string,
    graceMs: number,
  ): Promise<MachineObservation> {
    return this.#message(await this.#driver.stop(vmUid, { incarnationUid, graceMs }));
  }

  async reboot(
    _host: string,
    vmUid: string,
    incarnationUid: string,
    rebootUid: string,
  ): Promise<MachineObservation> {
    return this.#message(await this.#driver.reboot(vmUid, { incarnationUid, rebootUid }));
  }

  remove(_host: string, vmUid: string): Promise<void> {
    return this.#driver.remove(vmUid);
  }

  async get(_host: string, vmUid: string): Promise<MachineObservation> {
    return this.#message(await this.#driver.status(vmUid));
  }

  async list(): Promise<readonly MachineObservation[]> {
    return (await this.#driver.list()).map((seen) => this.#message(seen));
  }

  async shutDownGuests(graceMs: number): Promise<number> {
    const alive = (await this.#driver.list()).filter(({ managed, state }) => managed && state !== 'gone');
    // A guest that powered itself off before keeps its own reason.
    const asked = alive.filter(({ state }) => state !== 'powered-off');
    // One that cannot be ended does not keep the others from their grace.
    const ended = await Promise.allSettled(
      asked.map(({ vmUid }) => this.#driver.stop(vmUid, { graceMs, cause: 'host-shutdown' })),
    );
    const failed = ended.find((each) => each.status === 'rejected');
    if (failed) throw failed.reason;
    return alive.length;
  }

  onObservation(listener: (observation: MachineObservation) => void): Disposable {
    return this.#driver.onObservation((seen) => listener(this.#message(seen)));
  }

  readConsole(_host: string, vmUid: string, offset: number, maxBytes: number): Promise<ConsolePiece> {
    return this.#driver.readSerial(vmUid, offset, maxBytes);
  }

  #message({ at, state, cause, pinned, ...seen }: Seen): MachineObservation {
    return {
      ...seen,
      host: this.#host.host,
      state: states[state],
      cause: causes[cause],
      observeTime: at,
      pinned: { ...pinned },
    };
  }
}
