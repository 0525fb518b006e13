/**
 * A list as one watch tells it: whole first, then what changed. Pure. A message that does not follow on from the
 * one before means that something was lost: the watch is then given up for another.
 */
import type { WatchInstancesResponse } from '@nephos/proto/nephos/directory/v1/directory_service';
import type { Instance } from '@nephos/proto/nephos/directory/v1/instance';

type Update = WatchInstancesResponse['update'];

export interface FollowedList {
  /** Ordered by uid. */
  readonly instances: readonly Instance[];
  readonly settled: boolean;
}

export class ListFollower {
  readonly #byName = new Map<string, Instance>();
  #version: bigint | undefined;

  /** The list after the message; undefined where the message tells of none. Throws an Error on a gap. */
  take(update: Update): FollowedList | undefined {
    if (update?.$case === 'list') {
      const { instances, settled, version } = update.value;
      this.#byName.clear();
      for (const instance of instances) this.#byName.set(nameOf(instance), instance);
      this.#version = version;
      return { instances, settled };
    }
    if (update?.$case !== 'changes') return undefined;
    const { added, changed, removed, version, settled } = update.value;
    if (this.#version === undefined || version !== this.#version + 1n)
      throw new Error(`changes to version ${version} came after version ${this.#version ?? 'none'}`);
    this.#version = version;
    for (const name of removed) this.#byName.delete(name);
    for (const instance of [...added, ...changed]) this.#byName.set(nameOf(instance), instance);
    const instances = [...this.#byName.values()].sort((one, other) => (nameOf(one) < nameOf(other) ? -1 : 1));
    return { instances, settled };
  }
}

function nameOf({ header }: Instance): string {
  return header?.name || `instances/${header?.uid ?? ''}`;
}
