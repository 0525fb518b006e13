/**
 * The real platform for tests: nats-server and all services, on loopback ports of their own and a data folder, all in
 * this process or each in its own; one instance of each service, or several that share a MongoDB server and find each
 * other through the directory.
 * Invariant: addresses and data stay the same over any stop, kill and start of a part. Disposing ends all that was
 * started and removes a temporary data folder.
 */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { joinDirectory } from '@nephos/directory';
import { type NatsServer, startNatsServer } from '@nephos/events/testing';
import { type Clients, defineService, type Environment, startService } from '@nephos/service';
import { freePort } from '@nephos/service/testing';
import { type PlatformApi, platformApi } from './api.ts';
import { issueIdentities } from './identities.ts';
import { emptyQcow2, guestImage } from './images.ts';
import { InProcessService, type ServicePlace } from './in-process.ts';
import { OwnProcessService } from './own-process.ts';
import type { PlatformService } from './platform-service.ts';
import { type Definition, definitions, type ServiceName, serviceNames } from './services.ts';

export interface PlatformOptions {
  /** Default `simulated`. */
  readonly hypervisor?: 'simulated' | 'qemu';
  /** Simulated hosts; default 3. */
  readonly hosts?: number;
  /** Default: a temporary folder, removed at the end. */
  readonly data?: string;
  /** `mongodb://host:port/prefix`, for every service but the host agent, whose records are its host's alone. */
  readonly store?: string;
  /**
   * Instances of each service, which need a `store` to share; of the host agent as many agents, each with hosts of its
   * own. Default 1. Above, `api` finds the services through the directory, and the services need time to tell it that
   * they leave: the drain delay is the shipped one.
   */
  readonly replicas?: number;
  /** For every service: `NEPHOS_<KEY>`, or `NEPHOS_<SERVICE>_<KEY>` for one of them. */
  readonly env?: Environment;
}

export interface InProcessOptions extends PlatformOptions {
  /** Taken in place of the services' own definitions. */
  readonly definitions?: Partial<Readonly<Record<ServiceName, Definition>>>;
}

export interface Platform<S extends PlatformService = PlatformService> extends AsyncDisposable {
  readonly data: string;
  /** Where the services but the host agent keep their records; undefined: in files below `data`. */
  readonly store: string | undefined;
  readonly nats: NatsServer;
  /** The first instance of each. */
  readonly services: Readonly<Record<ServiceName, S>>;
  /** Every instance of each. */
  readonly replicas: Readonly<Record<ServiceName, readonly S[]>>;
  /** Clients of everything: by address, or of several instances through the directory. */
  readonly api: PlatformApi;
  readonly clients: Clients;
  /** Folder below which image files may be imported from. */
  readonly imports: string;
  /** Ends the services and the broker in order; the data stays until the platform is disposed. */
  stop(): Promise<void>;
}

/** Name of the image that each platform has built in: the bootable guest on QEMU, else an empty disk. */
export const builtInImage = 'tiny';

/** All services in this process. */
export function startPlatform(options: InProcessOptions = {}): Promise<Platform> {
  const chosen = { ...definitions, ...options.definitions };
  return start(options, (place) => new InProcessService(place, chosen[place.name]));
}

/** Each service a process of its own. */
export function startPlatformProcesses(options: PlatformOptions = {}): Promise<Platform<OwnProcessService>> {
  return start(options, (place) => new OwnProcessService(place));
}

async function start<S extends PlatformService>(
  options: PlatformOptions,
  make: (place: ServicePlace) => S,
): Promise<Platform<S>> {
  await using opening = new AsyncDisposableStack();
  const data = options.data ?? (await mkdtemp(path.join(tmpdir(), 'nephos-')));
  if (options.data === undefined) opening.defer(() => rm(data, { recursive: true, force: true }));
  const folders = { builtIn: path.join(data, 'built-in'), imports: path.join(data, 'imports') };
  await layFolders(folders, options.hypervisor ?? 'simulated');
  await mkdir(path.join(data, 'nats'), { recursive: true });

  const running = opening.use(new AsyncDisposableStack());
  const nats = running.use(
    await startNatsServer({
      storeDir: path.join(data, 'nats'),
      port: await freePort(),
      accounts: serviceNames,
    }),
  );
  const places = await layPlaces(options, { data, folders, nats });
  const made = places.map((place) => make(place));
  // The instances of a service end together: each gives its callers time to learn of it.
  for (const name of serviceNames) {
    const instances = made.filter((service) => service.name === name);
    running.defer(async () => void (await Promise.all(instances.map((service) => service.stop()))));
  }
  await Promise.all(made.map((service) => service.start()));

  const replicas = Object.fromEntries(
    serviceNames.map((name) => [name, made.filter((service) => service.name === name)]),
  ) as unknown as Record<ServiceName, S[]>;
  const { clients, api } = await openApi(options, replicas, path.join(data, 'outside'), running);
  const all = opening.move();
  return {
    data,
    store: options.store,
    nats,
    services: Object.fromEntries(serviceNames.map((name) => [name, replicas[name][0]])) as Record<
      ServiceName,
      S
    >,
    replicas,
    api,
    clients,
    imports: folders.imports,
    stop: () => running.disposeAsync(),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

interface Ground {
  readonly data: string;
  readonly folders: { readonly builtIn: string; readonly imports: string };
  readonly nats: NatsServer;
}

/** Where each instance of each service lives. */
async function layPlaces(options: PlatformOptions, { data, folders, nats }: Ground): Promise<ServicePlace[]> {
  const { replicas = 1, store } = options;
  if (replicas > 1 && store === undefined)
    throw new Error('instances of a service need a store that they share');
  const instances = serviceNames.flatMap((name) =>
    Array.from({ length: replicas }, (_, at) => ({ name, at })),
  );
  const bound = await Promise.all(
    instances.map(async (instance) => ({ ...instance, address: `127.0.0.1:${await freePort()}` })),
  );
  const seeds = bound.filter(({ name }) => name === 'directory').map(({ address }) => address);
  const shared = sharedEnvironment(options, folders, nats.url, seeds.join());
  const identityOf = await issueIdentities(path.join(data, 'identity'), serviceNames);
  return bound.map(({ name, at, address }) => {
    const folder = at === 0 ? name : `${name}-${at + 1}`;
    const own = {
      ...identityOf(name),
      NEPHOS_BIND: address,
      NEPHOS_DATA: path.join(data, folder),
      ...brokerEnvironment(nats, name),
      ...(store !== undefined && name !== 'host-agent' && { NEPHOS_STORE: store }),
    };
    const logFile = path.join(data, 'log', `${folder}.log`);
    return { name, address, data: path.join(data, folder), logFile, env: { ...shared, ...own } };
  });
}

async function openApi<S extends PlatformService>(
  { replicas = 1 }: PlatformOptions,
  services: Readonly<Record<ServiceName, readonly S[]>>,
  data: string,
  running: AsyncDisposableStack,
): Promise<Pick<Platform<S>, 'clients' | 'api'>> {
  const seeds = services.directory.map(({ address }) => address).join();
  const found = replicas > 1 ? { NEPHOS_DIRECTORY: seeds, NEPHOS_DATA: data } : {};
  const env = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s', ...found };
  const { clients } = running.use(await startService(replicas > 1 ? member : outside, { env })).context;
  const targetOf = (name: ServiceName): string => (replicas > 1 ? name : (services[name][0]?.address ?? ''));
  const agents = services['host-agent'].map(({ address }) => address);
  return { clients, api: platformApi(clients, targetOf, agents) };
}

/** Each service comes to the broker as itself; one of them may also let others in. */
function brokerEnvironment({ keys }: NatsServer, name: ServiceName): Environment {
  if (keys === undefined) return {};
  const own = { NEPHOS_NATS_CREDS: keys.credsOf(name) };
  if (name !== 'events') return own;
  return {
    ...own,
    NEPHOS_EVENTS_NATS_SIGNER: keys.signer,
    NEPHOS_EVENTS_NATS_SYSTEM_CREDS: keys.systemCreds,
  };
}

/** Whoever calls from outside: in no directory, it only has clients. */
const outside = defineService({
  name: 'outside',
  version: '0.1.0',
  config: {},
  start: () => Promise.resolve(),
});

/** The same as a member of the directory, so that it finds several instances as the services find each other. */
const member = defineService({
  name: 'outside',
  version: '0.1.0',
  config: {},
  start: async (ctx) => {
    await joinDirectory(ctx, { registers: false });
  },
});

function sharedEnvironment(
  { hypervisor = 'simulated', hosts = 3, replicas = 1, env }: PlatformOptions,
  folders: { readonly builtIn: string; readonly imports: string },
  nats: string,
  directory: string,
): Environment {
  return {
    NEPHOS_NATS: nats,
    NEPHOS_DIRECTORY: directory,
    NEPHOS_HYPERVISOR: hypervisor,
    NEPHOS_SIMULATED_HOSTS: String(hosts),
    NEPHOS_TEMPLATE_BUILT_IN: folders.builtIn,
    NEPHOS_TEMPLATE_SOURCES: folders.imports,
    ...(replicas === 1 && { NEPHOS_DRAIN_DELAY: '0s' }),
    ...env,
  };
}

async function layFolders(
  { builtIn, imports }: { readonly builtIn: string; readonly imports: string },
  hypervisor: 'simulated' | 'qemu',
): Promise<void> {
  for (const folder of [builtIn, imports]) await mkdir(folder, { recursive: true });
  const image = path.join(builtIn, `${builtInImage}.qcow2`);
  await rm(image, { force: true });
  await (hypervisor === 'qemu' ? symlink(guestImage(), image) : writeFile(image, emptyQcow2()));
}
