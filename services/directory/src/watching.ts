/**
 * The streams of WatchInstances: the list at once, then what changed (or the whole list, for callers that know no
 * changes), a heartbeat now and then, a drain message at the end. State of one replica; a watcher that loses it
 * opens another.
 */
import type { WatchInstancesRequest } from '@nephos/proto/nephos/directory/v1/directory_service';
import { InstanceSelector } from '@nephos/proto/nephos/directory/v1/instance';
import type { Clock } from '@nephos/service';
import type { Registry } from './registry.ts';
import { type Response, WatchedList } from './watched-list.ts';

interface Shared {
  readonly list: WatchedList;
  watchers: number;
}

export class Watching {
  readonly #registry: Registry;
  readonly #clock: Clock;
  readonly #draining = new AbortController();
  readonly #lists = new Map<string, Shared>();

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  /** How many watch. */
  get watchers(): number {
    return [...this.#lists.values()].reduce((sum, { watchers }) => sum + watchers, 0);
  }

  /** Tells every watcher to go elsewhere. */
  drain(): void {
    this.#draining.abort();
  }

  async *watch(request: WatchInstancesRequest, caller: AbortSignal): AsyncGenerator<Response> {
    const draining = this.#draining.signal;
    const shared = this.#share(request);
    const { list } = shared.value;
    using ends = new DisposableStack();
    ends.use(shared);
    let wake = () => {};
    ends.use(list.onNext(() => wake()));
    for (const signal of [caller, draining]) ends.use(onAbort(signal, () => wake()));
    let { version, beats } = list;
    yield list.whole;
    while (!caller.aborted && !draining.aborted) {
      if (version !== list.version) {
        const missed = request.changes ? list.since(version) : undefined;
        const { whole } = list;
        ({ version } = list);
        yield* missed ?? [whole];
      } else if (beats !== list.beats) {
        ({ beats } = list);
        yield list.heartbeat;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
    if (!caller.aborted) yield { update: { $case: 'drain', value: {} } };
  }

  /** The list that all watchers of this selector share; the last one to leave ends it. */
  #share({ selector = InstanceSelector.fromPartial({}), includeUnavailable }: WatchInstancesRequest) {
    const { service, version, zone, labels } = selector;
    const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify([service, version, zone, sorted, includeUnavailable]);
    const value = this.#lists.get(key) ?? {
      list: new WatchedList(this.#registry, this.#clock, selector, includeUnavailable),
      watchers: 0,
    };
    this.#lists.set(key, value);
    value.watchers += 1;
    return {
      value,
      [Symbol.dispose]: () => {
        value.watchers -= 1;
        if (value.watchers > 0) return;
        this.#lists.delete(key);
        value.list[Symbol.dispose]();
      },
    };
  }
}

function onAbort(signal: AbortSignal, act: () => void): Disposable {
  signal.addEventListener('abort', act, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', act) };
}
