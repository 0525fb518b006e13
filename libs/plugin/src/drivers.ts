/**
 * The seam behind which a plugin's author writes: what a hypervisor or a storage does, without gRPC, fences or
 * validation, which serve-hypervisor.ts and serve-storage.ts put around it. In-tree drivers and those of others
 * implement the same.
 * Rules: every verb is idempotent and keyed by the platform's ids; "done already" is success; what is said of a
 * machine is what is seen now, never what is hoped.
 */
import type {
  HostCapabilities,
  MachineObservation,
  MachineSpec,
} from '@nephos/proto/nephos/plugin/v1/hypervisor';
import type { PluginInfo } from '@nephos/proto/nephos/plugin/v1/plugin';
import type { StorageCapabilities, StoredVolume } from '@nephos/proto/nephos/plugin/v1/storage';

/** A piece of a console's output. `offset` is that of its first byte, from the console's first byte on. */
export interface ConsolePiece {
  readonly offset: number;
  readonly data: Uint8Array;
}

export interface HypervisorDriver {
  readonly info: PluginInfo;
  /** Every host that it plays, by the name it has there. */
  capabilities(): readonly HostCapabilities[];
  /** Running under the same incarnation is success; under another, `Precondition` STATE_FORBIDS. */
  start(host: string, machine: MachineSpec): Promise<MachineObservation>;
  /** Not running, or another run than the one meant, is success. `graceMs` 0 cuts the power at once. */
  stop(host: string, vmUid: string, incarnationUid: string, graceMs: number): Promise<MachineObservation>;
  /** Once for each `rebootUid`. Not running: `Precondition` STATE_FORBIDS. */
  reboot(host: string, vmUid: string, incarnationUid: string, rebootUid: string): Promise<MachineObservation>;
  /** Forgets a machine that does not run. */
  remove(host: string, vmUid: string): Promise<void>;
  /** `GONE` where there is none. */
  get(host: string, vmUid: string): Promise<MachineObservation>;
  /** All there are, those that nobody here started among them. */
  list(host: string): Promise<readonly MachineObservation[]>;
  /**
   * The host goes down in order: asks every guest to power down, cuts the power of those that did not within
   * `graceMs`, and says HOST_SHUTDOWN of each, also after a restart. Returns how many ran.
   */
  shutDownGuests(graceMs: number): Promise<number>;
  /** Each change from now on. */
  onObservation(listener: (observation: MachineObservation) => void): Disposable;
  /** `maxBytes` from the offset on, fewer only at the end. A negative offset counts from the end. */
  readConsole(host: string, vmUid: string, offset: number, maxBytes: number): Promise<ConsolePiece>;
}

/** The image that a volume lies over. */
export interface TemplateImage {
  /** `templates/{uid}`. */
  readonly template: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly format: 'qcow2' | 'raw';
}

export interface VolumeSpec {
  readonly volumeUid: string;
  readonly sizeBytes: number;
  /** Empty for an empty volume. */
  readonly templateSha256: string;
}

export interface StorageDriver {
  readonly info: PluginInfo;
  capabilities(): Promise<readonly StorageCapabilities[]>;
  /** Returns once the image is there, whole and checked. `progress` tells bytes that are there. */
  ensureTemplate(
    host: string,
    image: TemplateImage,
    options: { readonly signal: AbortSignal; progress(presentBytes: number): void },
  ): Promise<void>;
  /** Throws `Precondition` STATE_FORBIDS for one that is there with another spec. */
  createVolume(host: string, spec: VolumeSpec): Promise<StoredVolume>;
  deleteVolume(host: string, volumeUid: string): Promise<void>;
  /** Throws `NotFound`. */
  getVolume(host: string, volumeUid: string): Promise<StoredVolume>;
  listVolumes(host: string): Promise<readonly StoredVolume[]>;
  /** Removes half-made volumes and images; says how many. */
  recover(): Promise<number>;
}
