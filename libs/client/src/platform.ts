/**
 * The platform as a program outside of it sees it: services found through the directory, events from the broker.
 * Joins nothing and registers nothing. Addresses are asked for once and kept: a program that outlives a service's
 * move connects anew.
 */
import { type Bus, connectBus, type EventsLog } from '@nephos/events';
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import type { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import {
  type Client,
  type Clock,
  openClients,
  type ServiceContract,
  systemClock,
  Unavailable,
} from '@nephos/service';
import { locate } from './locate.ts';

export interface PlatformAddress {
  /** The directory, `host:port`. */
  readonly directory: string;
  /** The broker; needed only for events. */
  readonly nats?: string | undefined;
  /** File of credentials for the broker, where it asks for some. */
  readonly natsCreds?: string | undefined;
}

export interface PlatformOptions extends PlatformAddress {
  /** Who calls, e.g. `users/alice`. */
  readonly principal: string;
  readonly clock?: Clock;
  /** How long `client` waits for the directory, and for an instance that takes calls, in milliseconds. Default 5,000. */
  readonly patienceMs?: number;
}

export interface Platform extends AsyncDisposable {
  readonly clock: Clock;
  readonly directory: Client<typeof DirectoryServiceDefinition>;
  /** A client of a service by its name in the directory. Throws `Unavailable` when none of it takes calls. */
  client<D extends ServiceContract>(definition: D, service: string): Promise<Client<D>>;
  /** Every registered instance, or those of one service. */
  instances(service?: string): Promise<Instance[]>;
  /** The broker's connection, opened when first asked for. Throws `Unavailable` when its address is not known. */
  bus(): Promise<Bus>;
}

const silent: EventsLog = { debug() {}, info() {}, warn() {}, error() {} };

export function connectPlatform(options: PlatformOptions): Platform {
  const { directory: address, nats, natsCreds, principal, clock = systemClock, patienceMs = 5_000 } = options;
  const stack = new AsyncDisposableStack();
  const clients = stack.use(openClients(principal, clock));
  const directory = clients.of(DirectoryServiceDefinition, address);
  const targets = new Map<string, Promise<string>>();
  let bus: Promise<Bus> | undefined;

  async function instances(service?: string): Promise<Instance[]> {
    const filter = service === undefined ? '' : `service = "${service}"`;
    const found: Instance[] = [];
    let pageToken = '';
    do {
      const page = await directory.listInstances({ filter, pageToken, pageSize: 500 });
      found.push(...page.instances);
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    return found;
  }

  async function client<D extends ServiceContract>(definition: D, service: string): Promise<Client<D>> {
    const target = targets.get(service) ?? locate(directory, service, { address, clock, patienceMs });
    targets.set(service, target);
    target.catch(() => targets.delete(service));
    return clients.of(definition, await target);
  }

  function openBus(): Promise<Bus> {
    if (nats === undefined)
      throw new Unavailable(
        'SERVICE_UNAVAILABLE',
        'no broker is known: name it, and the file of credentials for it (nephos: --nats, --nats-creds)',
      );
    return connectBus({ name: principal, clock, log: silent, nats, natsCreds, resources: stack });
  }

  return {
    clock,
    directory,
    client,
    instances,
    bus: async () => (bus ??= openBus()),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
