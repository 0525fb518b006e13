/**
 * Which partitions of the jobs this instance owns, by number: a set of leases (libs/leases), shared fairly among the
 * instances that live. A crash leaves the leases; the next owners take them when they are over.
 */
import { LeaseSet, type Leases } from '@nephos/leases';
import { partitions } from '../domain/lane.ts';

export interface PartitionOptions {
  readonly leases: Leases;
  /** `handed`: the owner before put all down; else it may be working still. */
  readonly onTaken: (partition: number, epoch: number, handed: boolean) => void;
  /** What was under way is to be written before the promise resolves: then another may own it. */
  readonly onLost: (partition: number) => Promise<void>;
}

/** Another instance, and where it is reached. */
export interface Owner {
  readonly instance: string;
  readonly address: string;
  readonly epoch: number;
}

const prefix = 'partition-';

function nameOf(partition: number): string {
  return `${prefix}${partition}`;
}

function partitionNamed(name: string): number {
  return Number(name.slice(prefix.length));
}

export class Partitions {
  readonly #self: string;
  readonly #set: LeaseSet;

  constructor({ leases, onTaken, onLost }: PartitionOptions) {
    this.#self = leases.owner;
    this.#set = new LeaseSet({
      leases,
      set: 'partitions',
      names: Array.from({ length: partitions }, (_, partition) => nameOf(partition)),
      onTaken: (name, epoch, handed) => onTaken(partitionNamed(name), epoch, handed),
      onLost: (name) => onLost(partitionNamed(name)),
    });
  }

  /** At this very moment, also right after the process stood still. Undefined: another instance owns it, or nobody. */
  epochOf(partition: number): number | undefined {
    return this.#set.epochOf(nameOf(partition));
  }

  get owned(): readonly number[] {
    return this.#set.owned.map(partitionNamed);
  }

  /** The other instance that owns it, as last seen. */
  ownerOf(partition: number): Owner | undefined {
    const { owner, address, epoch } = this.#set.holderOf(nameOf(partition)) ?? {
      owner: '',
      address: '',
      epoch: 0,
    };
    const other = owner !== '' && owner !== this.#self && address !== '';
    return other ? { instance: owner, address, epoch } : undefined;
  }

  /** A write met a newer epoch, or the store: the partition has to be taken anew, here or elsewhere. */
  lost(partition: number): void {
    this.#set.lost(nameOf(partition));
  }

  /** One look at all leases. */
  look(): Promise<void> {
    return this.#set.look();
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#set.run(signal);
  }

  /** Hands all over, while calls are still answered. */
  leave(): Promise<void> {
    return this.#set.leave();
  }
}
