/**
 * The grpc-js resolver of `nephos:///service?label.key=value`. It answers the first request for a resolution and
 * from then on pushes: answering each request would make grpc-js ask without end. Which address a call takes is the
 * balancer's to say (balancer.ts). Calls to a service of which neither the directory nor the disk has said anything
 * wait for some seconds, then fail with the reason; once the directory answers, they wait for an instance.
 * Invariants: a target that had an address never has none; the same addresses are not pushed twice. Each service
 * in the process has lists of its own; a channel says whose by `nephos.instance`, else the last to join serves.
 */
import { type ChannelOptions, experimental, Metadata, status } from '@grpc/grpc-js';
import { type Clock, hostAndPort, systemClock } from '@nephos/service';
import { type ChoiceParts, policyName, registerPolicy } from './balancer.ts';
import type { Target } from './choice.ts';
import type { Seeds } from './seeds.ts';
import { defaultWeight, matching, parseTarget, targetsOf } from './selection.ts';
import type { ServiceList } from './service-list.ts';
import type { Selector } from './types.ts';

/** The directory's own name among the services: its seeds count as instances. */
export const directoryService = 'directory';

/** How long a channel waits for a first address before it says that there is none, milliseconds. */
export const patienceMs = 2000;
/** How long calls wait for a directory that has never answered, milliseconds. */
const silentDirectoryMs = 5000;

/** The channel option that names the instance whose lists a channel goes by. */
export const instanceOption = 'nephos.instance';

export interface ListSource {
  readonly clock: Clock;
  readonly seeds: Seeds;
  /** The caller's zone; empty for none. */
  readonly zone: string;
  /** Told when an address is left out of calls for its failures, or comes back. */
  onOutlier(service: string, address: string, leftOut: boolean): void;
  list(service: string): ServiceList;
}

const sources = new Map<string, ListSource>();
let registered = false;

/** Makes grpc-js know `nephos:` targets, once a process. Channels made earlier would take them for DNS names. */
export function registerScheme(): void {
  if (registered) return;
  registered = true;
  registerPolicy();
  experimental.registerResolver('nephos', NephosResolver);
}

/** Lets channels of this instance resolve services by its lists until disposed. */
export function serveResolver(instanceId: string, source: ListSource): Disposable {
  sources.set(instanceId, source);
  return { [Symbol.dispose]: () => sources.delete(instanceId) };
}

type Uri = { readonly path: string };
type Endpoints = ReturnType<typeof experimental.statusOrFromValue<experimental.Endpoint[]>>;

class NephosResolver implements experimental.Resolver {
  readonly #service: string;
  readonly #selector: Selector;
  readonly #listener: experimental.ResolverListener;
  readonly #instance: unknown;
  #source: ListSource | undefined;
  #subscriptions = new DisposableStack();
  #pushed = '';
  /** Calls fail at once, since nobody has ever said where the service runs. */
  #refused = false;

  constructor(target: Uri, listener: experimental.ResolverListener, options: ChannelOptions) {
    const { service, selector } = parseTarget(target.path);
    this.#service = service;
    this.#selector = selector;
    this.#listener = listener;
    this.#instance = options[instanceOption];
  }

  static getDefaultAuthority(target: Uri): string {
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
    subscriptions.use(source.clock.timer(patienceMs, () => this.#waited(list)));
    subscriptions.use(source.clock.timer(silentDirectoryMs, () => this.#waited(list, true)));
  }

  destroy(): void {
    this.#subscriptions.dispose();
    this.#subscriptions = new DisposableStack();
    this.#source = undefined;
    this.#pushed = '';
    this.#refused = false;
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
    const list = source.list(this.#service);
    const targets = targetsOf(matching(list.instances ?? [], this.#selector));
    if (this.#service === directoryService) {
      const known = new Set(targets.map(({ address }) => address));
      for (const address of source.seeds.addresses)
        if (!known.has(address)) targets.push({ address, zone: '', weight: defaultWeight });
    }
    if (targets.length === 0) {
      if (this.#refused) this.#waited(list);
      return;
    }
    const pushing = JSON.stringify(targets);
    if (pushing === this.#pushed) return;
    this.#pushed = pushing;
    this.#refused = false;
    this.#tell(targets);
  }

  /** Nobody has named an address for a while. */
  #waited(list: ServiceList, longer = false): void {
    if (this.#pushed !== '') return;
    this.#refused = list.instances === undefined && longer;
    if (this.#refused) return this.#tell([], `${this.#described()}: ${this.#source?.seeds.silence ?? ''}`);
    this.#fail(`the directory knows no instance of ${this.#described()}`);
  }

  #tell(targets: readonly Target[], refusal = ''): void {
    const endpoints: Endpoints = experimental.statusOrFromValue(
      targets.map(({ address }) => ({ addresses: [hostAndPort(address)] })),
    );
    this.#listener(endpoints, {}, this.#policy(targets, refusal), '');
  }

  #fail(details: string): void {
    const error = { code: status.UNAVAILABLE, details, metadata: new Metadata() };
    this.#listener(experimental.statusOrFromError(error), {}, this.#policy([], ''), details);
  }

  #policy(targets: readonly Target[], refusal: string) {
    const source = this.#source;
    const parts: ChoiceParts = {
      clock: source?.clock ?? systemClock,
      zone: source?.zone ?? '',
      targets,
      refusal,
      onOutlier: (address, leftOut) => source?.onOutlier(this.#service, address, leftOut),
    };
    return experimental.statusOrFromValue({
      loadBalancingConfig: [{ [policyName]: parts }],
      methodConfig: [],
    });
  }

  #described(): string {
    const { labels = {}, ...exact } = this.#selector;
    const wanted = [...Object.entries(exact), ...Object.entries(labels)].map(
      ([key, value]) => `${key}=${value}`,
    );
    return wanted.length === 0 ? this.#service : `${this.#service} with ${wanted.join(', ')}`;
  }
}
