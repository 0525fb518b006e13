/**
 * The grpc-js resolver of `nephos:///service?label.key=value`. It answers the first request for a resolution and
 * from then on pushes: answering each request would make grpc-js ask without end. Calls go round the addresses
 * that accept connections, so one that refuses is not waited for.
 * Invariants: a target that had an address never has none; the same addresses are not pushed twice. Each service
 * in the process has lists of its own; a channel says whose by `nephos.instance`, else the last to join serves.
 */
import { type ChannelOptions, experimental, Metadata, status } from '@grpc/grpc-js';
import { type Clock, hostAndPort } from '@nephos/service';
import type { Seeds } from './seeds.ts';
import { matching, parseTarget, weightedAddresses } from './selection.ts';
import type { ServiceList } from './service-list.ts';
import type { Selector } from './types.ts';

/** The directory's own name among the services: its seeds count as instances. */
export const directoryService = 'directory';

/** How long a channel waits for a first address before calls on it fail, milliseconds. */
export const patienceMs = 2000;

/** The channel option that names the instance whose lists a channel goes by. */
export const instanceOption = 'nephos.instance';

export interface ListSource {
  readonly clock: Clock;
  readonly seeds: Seeds;
  list(service: string): ServiceList;
}

const sources = new Map<string, ListSource>();
let registered = false;

/** Makes grpc-js know `nephos:` targets, once a process. Channels made earlier would take them for DNS names. */
export function registerScheme(): void {
  if (!registered) experimental.registerResolver('nephos', NephosResolver);
  registered = true;
}

/** Lets channels of this instance resolve services by its lists until disposed. */
export function serveResolver(instanceId: string, source: ListSource): Disposable {
  sources.set(instanceId, source);
  return { [Symbol.dispose]: () => sources.delete(instanceId) };
}

type Target = { readonly path: string };
type Endpoints = ReturnType<typeof experimental.statusOrFromValue<experimental.Endpoint[]>>;

const roundRobin = experimental.statusOrFromValue({
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [],
});

class NephosResolver implements experimental.Resolver {
  readonly #service: string;
  readonly #selector: Selector;
  readonly #listener: experimental.ResolverListener;
  readonly #instance: unknown;
  #source: ListSource | undefined;
  #subscriptions = new DisposableStack();
  #pushed = '';

  constructor(target: Target, listener: experimental.ResolverListener, options: ChannelOptions) {
    const { service, selector } = parseTarget(target.path);
    this.#service = service;
    this.#selector = selector;
    this.#listener = listener;
    this.#instance = options[instanceOption];
  }

  static getDefaultAuthority(target: Target): string {
    return parseTarget(target.path).service;
  }

  updateResolution(): void {
    if (this.#source !== undefined) return this.#source.seeds.refresh();
    const source = this.#findSource();
    const subscriptions = this.#subscriptions;
    if (source === undefined) {
      this.#later(() => this.#fail('this process has not joined a directory'));
      return;
    }
    this.#source = source;
    const list = source.list(this.#service);
    subscriptions.use(list.onChange(() => this.#push()));
    if (this.#service === directoryService) subscriptions.use(source.seeds.onChange(() => this.#push()));
    this.#later(() => this.#push());
    subscriptions.use(
      source.clock.timer(patienceMs, () => {
        if (this.#pushed === '') this.#fail(`the directory knows no instance of ${this.#described()}`);
      }),
    );
  }

  destroy(): void {
    this.#subscriptions.dispose();
    this.#subscriptions = new DisposableStack();
    this.#source = undefined;
    this.#pushed = '';
  }

  #findSource(): ListSource | undefined {
    if (typeof this.#instance === 'string') return sources.get(this.#instance);
    return [...sources.values()].at(-1);
  }

  /** Listeners must not be called from within a call of grpc-js, nor after `destroy`. */
  #later(act: () => void): void {
    const immediate = setImmediate(act);
    this.#subscriptions.defer(() => clearImmediate(immediate));
  }

  #push(): void {
    const source = this.#source;
    if (source === undefined) return;
    const known = source.list(this.#service).instances ?? [];
    const addresses = weightedAddresses(matching(known, this.#selector));
    if (this.#service === directoryService) {
      addresses.push(...source.seeds.addresses.filter((seed) => !addresses.includes(seed)));
    }
    const pushing = addresses.join();
    if (addresses.length === 0 || pushing === this.#pushed) return;
    this.#pushed = pushing;
    const endpoints: Endpoints = experimental.statusOrFromValue(
      addresses.map((address) => ({ addresses: [hostAndPort(address)] })),
    );
    this.#listener(endpoints, {}, roundRobin, '');
  }

  #fail(details: string): void {
    const error = { code: status.UNAVAILABLE, details, metadata: new Metadata() };
    this.#listener(experimental.statusOrFromError(error), {}, null, details);
  }

  #described(): string {
    const { labels = {}, ...exact } = this.#selector;
    const wanted = [...Object.entries(exact), ...Object.entries(labels)].map(
      ([key, value]) => `${key}=${value}`,
    );
    return wanted.length === 0 ? this.#service : `${this.#service} with ${wanted.join(', ')}`;
  }
}
