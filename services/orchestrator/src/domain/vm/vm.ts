/**
 * What the orchestrator holds of a VM: the intent, where its life stands (`phase`), where it is placed, and the
 * status that the projector folds from these and from what is seen. Facts are records of their own (incarnation.ts),
 * and so is the right to work on it (operation.ts).
 * Stored: fields may be added; readers keep what they do not know.
 */
import type { HeaderRecord } from '@nephos/service';

/**
 * The life that operations move a VM through. `creating` until a create is whole, `live` while it can be started,
 * `failed` if its creation could not be finished, `deleted` while it can be recovered, `expunging` on its way out.
 */
export type Phase = 'creating' | 'live' | 'failed' | 'deleted' | 'expunging';

export type Power = 'on' | 'off';
export type PowerPolicy = 'follow' | 'enforce' | 'alert';

export type VmState =
  | 'pending'
  | 'starting'
  | 'running'
  | 'stopping'
  | 'stopped'
  | 'unknown'
  | 'deleted'
  | 'expunging'
  | 'failed';

/** The user's intent, resolved: the size stands here even where an offering gave it. Amounts in bytes. */
export interface VmSpec {
  /** `computeOfferings/{uid}`, or empty. */
  readonly computeOffering: string;
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** `templates/{uid}`. */
  readonly template: string;
  readonly rootVolumeBytes: number;
  readonly hostname: string;
  readonly desiredPower: Power;
  readonly powerPolicy: PowerPolicy;
  /** `hosts/{uid}` it is bound to, or empty. */
  readonly host: string;
}

/** What is seen, as the public message has it. */
export interface VmStatus {
  readonly state: VmState;
  readonly host: string;
  readonly rootVolume: string;
  readonly incarnationUid: string;
  readonly generation: number;
  readonly operation: string;
  readonly reason: string;
  readonly message: string;
  readonly bootTime?: string;
}

/** The image that the root volume lies over, as the template was when the VM was asked for. */
export interface VmImage {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly format: 'qcow2' | 'raw';
  readonly architecture: string;
}

/** Why a creation failed, or what an operation met. */
export interface Failure {
  readonly reason: string;
  readonly message: string;
}

export interface Vm {
  readonly header: HeaderRecord;
  /** Owner, zone and display name in one while the name is taken; missing once it is free again. */
  readonly nameKey?: string;
  readonly phase: Phase;
  readonly spec: VmSpec;
  readonly image: VmImage;
  readonly rootVolumeUid: string;
  /** Uid of the job that creates it. */
  readonly createJob: string;
  /** Uid of the host that holds its volume and its claim; set before the claim is used, cleared after all is given back. */
  readonly hostUid?: string;
  /** What it holds of that host, at the most: `all` is said before claiming, `disk` after giving back. */
  readonly claimed?: 'all' | 'disk';
  /** The current or last run. */
  readonly incarnation?: { readonly uid: string; readonly generation: number };
  /** What the hypervisor pinned at first boot. */
  readonly pinned?: Readonly<Record<string, string>>;
  /** Set while the phase is `failed`, and kept after. */
  readonly failure?: Failure;
  readonly status: VmStatus;
  /** Which requests updated it last (libs/idempotency). */
  readonly requests?: readonly string[];
}

/** What one run is known to be. `starting` is a request; everything else was observed. */
export interface Incarnation {
  readonly vmUid: string;
  readonly hostUid: string;
  readonly generation: number;
  readonly state: 'starting' | 'running' | 'paused' | 'powered-off' | 'gone' | 'unknown';
  readonly cause: Cause;
  readonly message: string;
  /** When it was first seen running. */
  readonly bootTime?: string;
  /** Runs in a row before this one that ended by themselves. */
  readonly streak: number;
  /** Equal to `hostUid` until it is gone: finds what a complete picture of the host lacks. */
  readonly aliveOn?: string;
}

/** Why a run is in its state. */
export type Cause = 'unspecified' | 'requested' | 'guest' | 'crashed' | 'host-shutdown' | 'lost';

export type OperationKind =
  | 'vm.create'
  | 'vm.start'
  | 'vm.stop'
  | 'vm.reboot'
  | 'vm.delete'
  | 'vm.undelete'
  | 'vm.expunge'
  | 'vm.clean';

/** Who works on a VM now. */
export interface Holder {
  readonly jobUid: string;
  readonly kind: OperationKind;
}

export type Link = 'connecting' | 'up' | 'silent' | 'disconnected';
