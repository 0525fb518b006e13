/**
 * The last known list of one service in this process: what calls go by while the directory is away.
 * Invariants: once it had an instance it never becomes empty, since an old address may still answer and no
 * address never does; a list that is not settled only adds. A crash leaves the list on disk (list-cache.ts).
 */
import type { Instance } from '@nephos/proto/nephos/directory/v1/instance';

export class ServiceList {
  readonly service: string;
  readonly #listeners = new Set<() => void>();
  #instances: readonly Instance[] | undefined;

  constructor(service: string, remembered: readonly Instance[]) {
    this.service = service;
    this.#instances = remembered.length > 0 ? remembered : undefined;
  }

  /** Undefined while nobody has said. */
  get instances(): readonly Instance[] | undefined {
    return this.#instances;
  }

  /** Takes a list from the directory; true when something changed. */
  offer(offered: readonly Instance[], settled: boolean): boolean {
    const known = this.#instances ?? [];
    if (settled && offered.length === 0 && known.length > 0) return false;
    if (!settled && offered.length === 0) return false;
    const next = settled ? offered : union(known, offered);
    if (this.#instances !== undefined && same(this.#instances, next)) return false;
    this.#instances = next;
    for (const listener of [...this.#listeners]) listener();
    return true;
  }

  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }
}

function union(known: readonly Instance[], offered: readonly Instance[]): readonly Instance[] {
  const byUid = new Map(known.map((instance) => [instance.header?.uid, instance]));
  for (const instance of offered) byUid.set(instance.header?.uid, instance);
  return [...byUid.values()];
}

/** What makes two lists different to a caller; an instance's load does not. */
function same(one: readonly Instance[], other: readonly Instance[]): boolean {
  return (
    one.length === other.length &&
    one.every((instance, at) => instance === other[at] || signature(instance) === signature(other[at]))
  );
}

function signature(instance: Instance | undefined): string {
  if (instance === undefined) return '';
  const { header, version, address, weight, health } = instance;
  const labels = Object.entries(header?.labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([header?.uid, header?.zone, labels, version, address, weight, health]);
}
