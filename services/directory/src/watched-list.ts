/**
 * The list of one selector, for all who watch it: worked out once a change, encoded once, whatever the number of
 * watchers. Versions count its states; the changes between the last few are kept, so that a watcher who was slow
 * for a moment catches up, and one who was slow for longer gets the whole list. State of one replica.
 */
import { selects } from '@nephos/directory';
import type { WatchInstancesResponse } from '@nephos/proto/nephos/directory/v1/directory_service';
import type { Instance, InstanceSelector } from '@nephos/proto/nephos/directory/v1/instance';
import { type Clock, type DeepPartial, durationOf, sentToMany } from '@nephos/service';
import type { Listed } from './domain/entry.ts';
import { messageOf } from './domain/message.ts';
import type { Registry } from './registry.ts';

/** A change is told at once; those that follow within so many milliseconds come as one. */
const gatherMs = 20;
/** How often a list that is not settled is looked at. */
const unsettledMs = 200;
const heartbeatMs = 5000;
const mostKept = 64;

export type Response = DeepPartial<WatchInstancesResponse>;

/** What a list is made of. */
export type WatchedRegistry = Pick<Registry, 'settled' | 'list' | 'onChange'>;

interface Kept {
  readonly version: number;
  readonly message: Instance;
}

export class WatchedList implements Disposable {
  readonly #registry: WatchedRegistry;
  readonly #clock: Clock;
  readonly #selector: InstanceSelector;
  readonly #everyone: boolean;
  readonly #waiting = new Set<() => void>();
  readonly #ends = new DisposableStack();
  readonly #changes: Response[] = [];
  readonly #heartbeat = sentToMany<Response>({
    update: { $case: 'heartbeat', value: { interval: durationOf(heartbeatMs) } },
  });
  #instances = new Map<string, Kept>();
  #settled: boolean;
  #version = 1;
  #beats = 0;
  #whole: Response | undefined;
  /** Until when changes are gathered. */
  #gathering: Disposable | undefined;
  #changed = false;

  /** `everyone`: also those that take no calls. */
  constructor(registry: WatchedRegistry, clock: Clock, selector: InstanceSelector, everyone: boolean) {
    this.#registry = registry;
    this.#clock = clock;
    this.#selector = selector;
    this.#everyone = everyone;
    this.#settled = registry.settled;
    this.#instances = this.#read();
    this.#ends.use(
      registry.onChange((service) => {
        if (selector.service === '' || service === selector.service) this.#tellSoon();
      }),
    );
    this.#ends.use(clock.every(heartbeatMs, () => this.#beat()));
    if (!this.#settled) this.#settling();
  }

  /** Rises with each change. */
  get version(): number {
    return this.#version;
  }

  /** Rises with each heartbeat. */
  get beats(): number {
    return this.#beats;
  }

  get heartbeat(): Response {
    return this.#heartbeat;
  }

  /** The list as it is. */
  get whole(): Response {
    this.#whole ??= sentToMany<Response>({
      update: {
        $case: 'list',
        value: {
          instances: [...this.#instances.values()].map(({ message }) => message),
          settled: this.#settled,
          version: BigInt(this.#version),
        },
      },
    });
    return this.#whole;
  }

  /** What led from that version to this one, in order; undefined when that is too long ago. */
  since(version: number): readonly Response[] | undefined {
    const missed = this.#version - version;
    return missed > this.#changes.length ? undefined : this.#changes.slice(this.#changes.length - missed);
  }

  /** Calls back with each change and heartbeat. */
  onNext(wake: () => void): Disposable {
    this.#waiting.add(wake);
    return { [Symbol.dispose]: () => this.#waiting.delete(wake) };
  }

  [Symbol.dispose](): void {
    this.#gathering?.[Symbol.dispose]();
    this.#ends.dispose();
  }

  #beat(): void {
    this.#beats += 1;
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #tellSoon(): void {
    this.#changed = true;
    if (this.#gathering !== undefined) return;
    // Not at once: what changes together is told together.
    const immediate = setImmediate(() => this.#tell());
    this.#gathering = { [Symbol.dispose]: () => clearImmediate(immediate) };
  }

  #tell(): void {
    this.#changed = false;
    this.#lookAgain();
    this.#gathering = this.#clock.timer(gatherMs, () => {
      this.#gathering = undefined;
      if (this.#changed) this.#tell();
    });
  }

  #settling(): void {
    const looking = this.#ends.use(
      this.#clock.every(unsettledMs, () => {
        this.#tellSoon();
        if (this.#registry.settled) looking[Symbol.dispose]();
      }),
    );
  }

  #lookAgain(): void {
    const before = this.#instances;
    const now = this.#read();
    const { settled } = this.#registry;
    const added: Instance[] = [];
    const changed: Instance[] = [];
    for (const [uid, { version, message }] of now) {
      const known = before.get(uid);
      if (known === undefined) added.push(message);
      else if (known.version !== version) changed.push(message);
    }
    const removed = [...before.keys()].filter((uid) => !now.has(uid)).map((uid) => `instances/${uid}`);
    if (added.length + changed.length + removed.length === 0 && settled === this.#settled) return;
    this.#instances = now;
    this.#settled = settled;
    this.#version += 1;
    this.#whole = undefined;
    const version = BigInt(this.#version);
    const value = { version, added, changed, removed, settled };
    this.#changes.push(sentToMany<Response>({ update: { $case: 'changes', value } }));
    if (this.#changes.length > mostKept) this.#changes.shift();
    this.#wake();
  }

  #read(): Map<string, Kept> {
    const known = this.#instances;
    const wanted = this.#registry.list(this.#selector.service).filter((each) => this.#wants(each));
    return new Map(
      wanted.map((each) => {
        const { state, version } = each;
        const kept = known.get(state.uid);
        return [state.uid, kept?.version === version ? kept : { version, message: messageOfListed(each) }];
      }),
    );
  }

  #wants({ state: { facts }, silent }: Listed): boolean {
    if (!this.#everyone && (facts.health !== 'SERVING' || silent)) return false;
    return selects(this.#selector, facts);
  }
}

export function messageOfListed({ state, ...books }: Listed): Instance {
  return messageOf(state, books);
}
