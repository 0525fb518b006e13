/**
 * What the orchestrator holds of a volume, and which state may follow which.
 * `ready` is a fact that storage told; `allocated`, `trashed` and `expunging` are what is wanted of it.
 */
import { type HeaderRecord, Precondition } from '@nephos/service';

export type VolumeState =
  | 'allocated'
  | 'creating'
  | 'ready'
  | 'faulted'
  | 'trashed'
  | 'expunging'
  | 'expunged';

export interface Volume {
  readonly header: HeaderRecord;
  readonly kind: 'root' | 'data';
  readonly state: VolumeState;
  readonly sizeBytes: number;
  /** `templates/{uid}`, or empty. */
  readonly template: string;
  /** `hosts/{uid}` whose local storage holds it. */
  readonly host: string;
  /** `vms/{uid}` it belongs to. */
  readonly vm: string;
}

const next: Readonly<Record<VolumeState, readonly VolumeState[]>> = {
  allocated: ['creating', 'expunging', 'expunged'],
  creating: ['ready', 'faulted', 'expunging'],
  ready: ['faulted', 'trashed', 'expunging'],
  faulted: ['ready', 'trashed', 'expunging'],
  trashed: ['ready', 'expunging'],
  expunging: ['expunged'],
  expunged: [],
};

/** The volume in another state; the same state is no move. Throws `Precondition` STATE_FORBIDS. */
export function moveVolume(volume: Volume, state: VolumeState): Volume {
  if (volume.state === state) return volume;
  if (next[volume.state].includes(state)) return { ...volume, state };
  const subject = `volumes/${volume.header.uid}`;
  const description = `a volume that is ${volume.state} cannot become ${state}`;
  throw new Precondition('STATE_FORBIDS', `${subject}: ${description}`, {
    preconditions: [{ type: 'STATE_FORBIDS', subject, description }],
  });
}
