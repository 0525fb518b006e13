/**
 * Partitions and lanes: how jobs are shared between instances of job control and found again in the store.
 * A partition holds whole trees of jobs; a lane is one index range of a partition, in the order of its numbers.
 * Invariant: both are functions of what is in the record, so a successor finds all that its predecessor had.
 */

/** Fixed: a job's partition is stored with it. */
export const partitions = 8;

/** Ready lanes are a type each, so that work that nobody takes does not stand in the way of other work. */
export type Lane = 'ready' | 'delayed' | 'suspended' | 'blocked';

/** FNV-1a over the root's uid. */
export function partitionOf(root: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < root.length; at += 1) hash = Math.imul(hash ^ root.charCodeAt(at), 0x01000193);
  return (hash >>> 0) % partitions;
}

/** As the contract of executors counts them: 0 stands for none. */
export function partitionNumber(partition: number): number {
  return partition + 1;
}

export function laneOf(lane: Lane, partition: number, type: string): string {
  return lane === 'ready' ? `ready/${partition}/${type}` : `${lane}/${partition}`;
}

const perEpoch = 2 ** 32;

/** The epoch in which a place was given out. */
export function epochOfPlace(place: number): number {
  return Math.floor(place / perEpoch);
}

/** Places in ready lanes: rising in a partition over all epochs, without a record of the last one given out. */
export class Places {
  readonly #base: number;
  #given = 0;

  constructor(epoch: number) {
    this.#base = epoch * perEpoch;
  }

  next(): number {
    this.#given += 1;
    return this.#base + this.#given;
  }
}
