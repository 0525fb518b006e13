/**
 * The streams of WatchInstances: the list at once, then what changed (or the whole list, for callers that know no
 * changes), a heartbeat now and then, a drain message at the end. State of one replica; a watcher that loses it
 * opens another.
 */
import type { WatchInstancesRequest } from '@nephos/proto/nephos/directory/v1/directory_service';
import { InstanceSelector } from '@nephos/proto/nephos/directory/v1/instance';
import { type Clock, checkLabels, Exhausted, type FieldViolation, refuseFields } from '@nephos/service';
import type { Registry } from './registry.ts';
import { type Response, WatchedList } from './watched-list.ts';

/** Whoever reaches the directory may watch: what they can make it hold is bounded. */
const most = { watchers: 20_000, lists: 1_000, word: 128 } as const;
const retryAfterMs = 5_000;

interface Shared {
  readonly list: WatchedList;
  watchers: number;
}

export class Watching {
  readonly #registry: Registry;
  readonly #clock: Clock;
  readonly #draining = new AbortController();
  readonly #lists = new Map<string, Shared>();
  #watchers = 0;

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  /** How many watch. */
  get watchers(): number {
    return this.#watchers;
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

  /** The list that all watchers of this selector share; the last one to leave ends it. Throws Invalid, Exhausted. */
  #share({ selector = InstanceSelector.fromPartial({}), includeUnavailable }: WatchInstancesRequest) {
    const { service, version, zone, labels } = selector;
    checkSelector(selector);
    const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify([service, version, zone, sorted, includeUnavailable]);
    const known = this.#lists.get(key);
    if (this.#watchers >= most.watchers || (known === undefined && this.#lists.size >= most.lists)) {
      const text = `${most.watchers} watches of ${most.lists} selectors are as many as one directory has`;
      throw new Exhausted('LIMIT_REACHED', text, { retryAfterMs });
    }
    const value = known ?? {
      list: new WatchedList(this.#registry, this.#clock, selector, includeUnavailable),
      watchers: 0,
    };
    this.#lists.set(key, value);
    value.watchers += 1;
    this.#watchers += 1;
    return {
      value,
      [Symbol.dispose]: () => {
        value.watchers -= 1;
        this.#watchers -= 1;
        if (value.watchers > 0) return;
        this.#lists.delete(key);
        value.list[Symbol.dispose]();
      },
    };
  }
}

function checkSelector({ service, version, zone, labels }: InstanceSelector): void {
  const faults = Object.entries({ service, version, zone }).flatMap(([word, text]): FieldViolation[] =>
    text.length <= most.word
      ? []
      : [{ field: `selector.${word}`, description: `has at most ${most.word} characters` }],
  );
  refuseFields(faults);
  checkLabels(labels, 'selector.labels');
}

function onAbort(signal: AbortSignal, act: () => void): Disposable {
  signal.addEventListener('abort', act, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', act) };
}
