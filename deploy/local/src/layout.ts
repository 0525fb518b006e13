/** What runs where: services, processes, ports, folders and environments of the local platform. Pure. */
import path from 'node:path';
import { tokenFile, trustFile } from '@nephos/directory/identity';
import { type KeyFiles, keyFilesIn } from '@nephos/nats-accounts';
import { worldStoreUrl } from '@nephos/store';

export const repository = path.resolve(import.meta.dirname, '../../..');

/** Node keeps compiled code here; costs nothing to lose. */
export const compileCache = path.join(repository, '.cache/node-compile');

export const host = '127.0.0.1';

/** In the order of their ports, which come after the broker's. */
export const serviceNames = [
  'directory',
  'job-control',
  'orchestrator',
  'template',
  'host-agent',
  'events',
  'webhooks',
] as const;
/** The broker, the services, and the schemas over HTTP: a port each, in a row. */
export const portCount = serviceNames.length + 2;

/** Whose credentials the people of this machine use, by the command line. */
export const operatorCreds = 'operator';
export type ServiceName = (typeof serviceNames)[number];

/** `qemu`: real guests; `simulated`: nothing boots. Each keeps a world of its own. */
export type Mode = 'qemu' | 'simulated';

export interface LayoutOptions {
  readonly data: string;
  readonly portBase: number;
  /** MongoDB for all services but the host agent, whose records are its host's alone. */
  readonly store?: string | undefined;
  readonly mode: Mode;
  /** True: a process for each service. */
  readonly isolate: boolean;
  readonly logLevel: string;
}

/** A process and the services in it. */
export interface Group {
  readonly name: string;
  readonly services: readonly ServiceName[];
  readonly env: Readonly<Record<string, string>>;
}

export interface Layout {
  readonly options: LayoutOptions;
  /** What this mode keeps. */
  readonly state: string;
  readonly logs: string;
  /** Images that templates are made from by name. */
  readonly builtIn: string;
  readonly nats: {
    readonly port: number;
    readonly url: string;
    readonly store: string;
    readonly config: string;
    /** The broker's own folder for the accounts that it knows. */
    readonly accounts: string;
    readonly keys: KeyFiles;
  };
  /** Whose tokens services prove to the directory with who they are. */
  readonly identity: {
    readonly folder: string;
    readonly trust: string;
    tokenOf(service: ServiceName): string;
  };
  /** Where schemas and the AsyncAPI document are served by plain HTTP. */
  readonly schemas: string;
  /** In the order in which they are started; stopped in reverse of `stopOrder`. */
  readonly groups: readonly Group[];
  portOf(service: ServiceName): number;
  address(service: ServiceName): string;
  dataOf(service: ServiceName): string;
}

export function layoutOf(options: LayoutOptions): Layout {
  const { data, portBase, mode, isolate } = options;
  const state = path.join(data, mode);
  const builtIn = path.join(state, 'built-in');
  const nats = brokerIn(state, portBase);
  const portOf = (service: ServiceName) => portBase + 1 + serviceNames.indexOf(service);
  const address = (service: ServiceName) => `${host}:${portOf(service)}`;
  const folder = path.join(state, 'identity');
  const identity = {
    folder,
    trust: path.join(folder, trustFile),
    tokenOf: (service: ServiceName) => path.join(folder, tokenFile(service)),
  };
  const dataOf = (service: ServiceName) => path.join(state, service);
  const storeOf = (service: ServiceName) =>
    options.store === undefined || service === 'host-agent'
      ? `sqlite://${path.join(dataOf(service), `${service}.db`)}`
      : worldStoreUrl(options.store, mode);
  const schemas = `http://${host}:${portBase + portCount - 1}`;
  const common = sharedEnvironment(options, {
    url: nats.url,
    schemas,
    directory: address('directory'),
    trust: identity.trust,
    builtIn,
  });
  const group = (name: string, services: readonly ServiceName[]): Group => ({
    name,
    services,
    env: {
      ...common,
      ...Object.assign(
        {},
        ...services.map((each) => ({
          ...own(each, address(each), dataOf(each), nats.keys),
          [`${prefixOf(each)}_IDENTITY`]: identity.tokenOf(each),
          [`${prefixOf(each)}_STORE`]: storeOf(each),
        })),
      ),
    },
  });
  const controlPlane = serviceNames.filter((name) => name !== 'host-agent');
  const groups = isolate
    ? serviceNames.map((name) => group(name, [name]))
    : [group('control-plane', controlPlane), group('host-agent', ['host-agent'])];
  return {
    options,
    state,
    logs: path.join(data, 'log'),
    builtIn,
    nats,
    identity,
    schemas,
    groups,
    portOf,
    address,
    dataOf,
  };
}

function prefixOf(service: ServiceName): string {
  return `NEPHOS_${service.replaceAll('-', '_').toUpperCase()}`;
}

function brokerIn(state: string, port: number): Layout['nats'] {
  return {
    port,
    url: `nats://${host}:${port}`,
    store: path.join(state, 'nats'),
    config: path.join(state, 'nats.conf'),
    accounts: path.join(state, 'nats-accounts'),
    keys: keyFilesIn(path.join(state, 'nats-keys')),
  };
}

interface Shared {
  readonly url: string;
  readonly schemas: string;
  readonly directory: string;
  readonly trust: string;
  readonly builtIn: string;
}

/** What every service is told. */
function sharedEnvironment(
  options: LayoutOptions,
  { url, schemas, directory, trust, builtIn }: Shared,
): Record<string, string> {
  return {
    NEPHOS_NATS: url,
    NEPHOS_SCHEMA_BASE: schemas,
    NEPHOS_EVENTS_HTTP_BIND: new URL(schemas).host,
    NEPHOS_DIRECTORY: directory,
    NEPHOS_DIRECTORY_TRUST: trust,
    NEPHOS_LOG_LEVEL: options.logLevel,
    NEPHOS_LOG_TO: 'stderr',
    NEPHOS_TEMPLATE_BUILT_IN: builtIn,
    NEPHOS_HYPERVISOR: options.mode,
    NEPHOS_AGENT_STOP_GUESTS: 'true',
    // Room for guests that take their time, see the agent's NEPHOS_AGENT_STOP_GRACE.
    NEPHOS_HOST_AGENT_DRAIN_GRACE: '25s',
    // Callers here learn at once that a service leaves: nothing is gained by waiting for them.
    NEPHOS_DRAIN_DELAY: '50ms',
    NODE_COMPILE_CACHE: compileCache,
  };
}

function own(service: ServiceName, bind: string, data: string, keys: KeyFiles): Record<string, string> {
  const prefix = prefixOf(service);
  return {
    [`${prefix}_BIND`]: bind,
    [`${prefix}_DATA`]: data,
    [`${prefix}_NATS_CREDS`]: keys.credsOf(service),
    // The one that issues third parties' credentials.
    ...(service === 'events' && {
      [`${prefix}_NATS_SIGNER`]: keys.signer,
      [`${prefix}_NATS_SYSTEM_CREDS`]: keys.systemCreds,
    }),
  };
}
