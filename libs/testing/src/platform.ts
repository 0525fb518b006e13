/**
 * The real platform for tests: nats-server, directory, job control, templates, host agent and orchestrator, on
 * loopback ports of their own and a data folder, all services in this process or each in its own.
 * Invariant: addresses and data stay the same over any stop, kill and start of a part. Disposing ends all that was
 * started and removes a temporary data folder.
 */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type NatsServer, startNatsServer } from '@nephos/events/testing';
import { type Clients, defineService, type Environment, startService } from '@nephos/service';
import { type PlatformApi, platformApi } from './api.ts';
import { freePort } from './free-port.ts';
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
  /** For every service: `NEPHOS_<KEY>`, or `NEPHOS_<SERVICE>_<KEY>` for one of them. */
  readonly env?: Environment;
}

export interface InProcessOptions extends PlatformOptions {
  /** Taken in place of the services' own definitions. */
  readonly definitions?: Partial<Readonly<Record<ServiceName, Definition>>>;
}

export interface Platform<S extends PlatformService = PlatformService> extends AsyncDisposable {
  readonly data: string;
  readonly nats: NatsServer;
  readonly services: Readonly<Record<ServiceName, S>>;
  /** Clients of everything, by address: they need no directory. */
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
  const addresses = new Map<ServiceName, string>();
  for (const name of serviceNames) addresses.set(name, `127.0.0.1:${await freePort()}`);
  const addressOf = (name: ServiceName): string => addresses.get(name) ?? '';
  const shared = sharedEnvironment(options, folders, nats.url, addressOf('directory'));
  const made = serviceNames.map((name) => {
    const own = {
      NEPHOS_BIND: addressOf(name),
      NEPHOS_DATA: path.join(data, name),
      ...brokerEnvironment(nats, name),
      ...(options.store !== undefined && name !== 'host-agent' && { NEPHOS_STORE: options.store }),
    };
    const logFile = path.join(data, 'log', `${name}.log`);
    return make({
      name,
      address: addressOf(name),
      data: path.join(data, name),
      logFile,
      env: { ...shared, ...own },
    });
  });
  for (const service of made) running.defer(() => service.stop());
  await Promise.all(made.map((service) => service.start()));

  const client = running.use(
    await startService(outside, { env: { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s' } }),
  );
  const { clients } = client.context;
  const all = opening.move();
  return {
    data,
    nats,
    services: Object.fromEntries(made.map((service) => [service.name, service])) as Record<ServiceName, S>,
    api: platformApi(clients, addressOf),
    clients,
    imports: folders.imports,
    stop: () => running.disposeAsync(),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
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

function sharedEnvironment(
  { hypervisor = 'simulated', hosts = 3, env }: PlatformOptions,
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
    NEPHOS_DRAIN_DELAY: '0s',
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
