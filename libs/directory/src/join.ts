/**
 * A service's membership: its own registration, and the lists of the services that it calls. Everything runs in
 * the background, so a service starts, serves and calls by its last known lists while no directory is there.
 * A crash leaves the lists on disk and a lease that ends by itself (or sooner, when the service starts again).
 */
import path from 'node:path';
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import { Health, type Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { formatAddress, runAs, type ServiceContext, Unavailable } from '@nephos/service';
import { TokenFile } from './identity/token-file.ts';
import { ListCache } from './list-cache.ts';
import { Predecessors } from './predecessors.ts';
import { Registration } from './registration.ts';
import { directoryService, type ListSource, patienceMs, registerScheme, serveResolver } from './resolver.ts';
import { Seeds } from './seeds.ts';
import { matching } from './selection.ts';
import { ServiceList } from './service-list.ts';
import type { DirectoryEndpoint, DirectoryHandle, JoinOptions, Selector } from './types.ts';
import { watchService } from './watcher.ts';

const defaultLeaseMs = 3000;
/** How long a draining service waits for the directory to take it out of the lists. */
const drainingMs = 1000;

/**
 * Joins the directory that NEPHOS_DIRECTORY names; call it first in a service's `start`. From here on clients of
 * this service resolve `nephos:///…`. Registers when the service serves, follows its health, deregisters when it
 * stops. Never waits for the directory. Throws an Error on a seed that is no `host:port`.
 */
export async function joinDirectory(
  ctx: ServiceContext,
  options: JoinOptions = {},
): Promise<DirectoryHandle> {
  registerScheme();
  const seeds = ctx.resources.use(new Seeds(ctx.config.directory, ctx.clock));
  const folder = path.join(ctx.config.data, 'directory');
  const endpoint =
    options.endpoint ??
    (seeds.configured ? ctx.clients.of(DirectoryServiceDefinition, directoryService) : undefined);
  if (endpoint === undefined)
    ctx.log.warn('NEPHOS_DIRECTORY is empty: this service is in no directory and finds none');
  const member = new Member(ctx, seeds, endpoint, folder);
  ctx.resources.use(serveResolver(ctx.instanceId, member));
  ctx.resources.use(member);
  if (endpoint !== undefined) {
    member.list(directoryService);
    if (options.registers !== false) register(ctx, endpoint, options, member, folder);
  }
  return member;
}

function register(
  ctx: ServiceContext,
  endpoint: DirectoryEndpoint,
  options: JoinOptions,
  member: Member,
  folder: string,
): void {
  const { lifecycle, clock, log } = ctx;
  member.labels = options.labels ?? {};
  lifecycle.onServing((address) => {
    const registration = new Registration(
      {
        endpoint,
        clock,
        log,
        leaseMs: options.leaseMs ?? defaultLeaseMs,
        predecessors: new Predecessors(folder, ctx.name, ctx.instanceId),
        identity: new TokenFile(ctx.config.identity, clock, (error) =>
          log.warn({ err: error }, 'cannot read the token that NEPHOS_IDENTITY names'),
        ),
        callees: ctx.callees,
        facts: {
          uid: ctx.instanceId,
          service: ctx.name,
          version: ctx.version,
          zone: ctx.config.zone,
          address: formatAddress(address),
          services: options.services ?? ctx.server.services,
        },
      },
      { health: lifecycle.healthy ? Health.SERVING : Health.NOT_SERVING, labels: member.labels },
    );
    member.registration = registration;
    lifecycle.onHealth((healthy) => {
      if (lifecycle.state === 'serving')
        registration.setHealth(healthy ? Health.SERVING : Health.NOT_SERVING);
    });
    lifecycle.onDraining(async () => {
      registration.setHealth(Health.DRAINING);
      await registration.acknowledged(drainingMs);
    });
    ctx.background('directory registration', (signal) => registration.run(signal));
  });
}

class Member implements DirectoryHandle, ListSource, AsyncDisposable {
  readonly uid: string;
  readonly clock: ListSource['clock'];
  readonly seeds: Seeds;
  readonly zone: string;
  labels: Readonly<Record<string, string>> = {};
  registration: Registration | undefined;
  readonly #ctx: ServiceContext;
  readonly #endpoint: DirectoryEndpoint | undefined;
  readonly #cache: ListCache;
  readonly #lists = new Map<string, ServiceList>();
  readonly #closed = new AbortController();

  constructor(ctx: ServiceContext, seeds: Seeds, endpoint: DirectoryEndpoint | undefined, folder: string) {
    this.uid = ctx.instanceId;
    this.clock = ctx.clock;
    this.seeds = seeds;
    this.zone = ctx.config.zone;
    this.#ctx = ctx;
    this.#endpoint = endpoint;
    this.#cache = new ListCache(folder, (error) =>
      ctx.log.warn({ err: error }, 'cannot keep the list on disk'),
    );
  }

  onOutlier(service: string, address: string, leftOut: boolean): void {
    const { log } = this.#ctx;
    if (leftOut) log.warn({ service, address }, 'an instance fails its calls: left out for a while');
    else log.info({ service, address }, 'an instance that failed its calls is tried again');
  }

  setLabels(labels: Readonly<Record<string, string>>): void {
    this.labels = labels;
    this.registration?.setLabels(labels);
  }

  /** The service's list, watched from the first time that it is asked for. */
  list(service: string): ServiceList {
    const known = this.#lists.get(service);
    if (known !== undefined) return known;
    const list = new ServiceList(service, this.#cache.read(service));
    this.#lists.set(service, list);
    const endpoint = this.#endpoint;
    const { clock, log, lifecycle } = this.#ctx;
    if (endpoint !== undefined && lifecycle.state !== 'stopped') {
      const onChange = () => this.#cache.keep(service, list.instances ?? []);
      // The call that asks for the list first must not take the watch with it when it ends.
      runAs({}, () =>
        this.#ctx.background(`directory watch of ${service}`, (signal) =>
          watchService({ endpoint, list, clock, log, onChange }, signal),
        ),
      );
    }
    return list;
  }

  async resolve(service: string, selector: Selector = {}): Promise<readonly Instance[]> {
    const patience = new AbortController();
    using _late = this.clock.timer(patienceMs, () => patience.abort());
    for await (const instances of this.#follow(service, selector, patience.signal)) return instances;
    throw new Unavailable('SERVICE_UNAVAILABLE', `the directory has not said where ${service} runs`);
  }

  watch(service: string, selector: Selector = {}): AsyncIterable<readonly Instance[]> {
    return this.#follow(service, selector, this.#closed.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    await this.#cache.flush();
  }

  async *#follow(
    service: string,
    selector: Selector,
    signal: AbortSignal,
  ): AsyncGenerator<readonly Instance[]> {
    const list = this.list(service);
    let changed = Promise.withResolvers<void>();
    using _subscription = list.onChange(() => changed.resolve());
    const onAbort = () => changed.resolve();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!signal.aborted && !this.#closed.signal.aborted) {
        changed = Promise.withResolvers<void>();
        if (list.instances !== undefined) yield matching(list.instances, selector);
        await changed.promise;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}
