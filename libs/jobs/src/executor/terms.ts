/**
 * The highest epoch heard of for each partition of job control, by any of its instances.
 * Invariant: it only rises, so that orders of an owner that has a successor are known for what they are, however
 * late they come. A crash forgets it: a new process is assigned nothing by those that came before it.
 */
import type { PartitionTerm } from '@nephos/proto/nephos/jobs/v1/executor';

export class Terms {
  readonly #highest = new Map<number, bigint>();

  note(partitions: readonly PartitionTerm[]): void {
    for (const { partition, epoch } of partitions) {
      if (epoch > (this.#highest.get(partition) ?? 0n)) this.#highest.set(partition, epoch);
    }
  }

  /** True when the partition has an owner under a higher epoch. */
  isPast(partition: number, epoch: bigint): boolean {
    return epoch < (this.#highest.get(partition) ?? 0n);
  }
}
