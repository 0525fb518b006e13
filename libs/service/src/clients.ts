/**
 * The clients of a service: one connection pool a target, shared by all contracts called there. A service's name
 * is resolved by the directory (`nephos:///name`, registered by libs/directory) and its instances take turns.
 */
import { credentials, Client as GrpcClient } from '@grpc/grpc-js';
import { callTarget, type Labels, serviceOf } from './address.ts';
import type { CalleeCount } from './call-counts.ts';
import { Channel } from './channel.ts';
import { makeClient } from './client.ts';
import { type Clock, systemClock } from './clock.ts';
import type { Client, ServiceContract } from './contract.ts';
import type { ClientEnvironment } from './outgoing.ts';
import { newUid } from './uid.ts';

export interface TargetOptions {
  /** Only instances that carry all of these. */
  readonly labels?: Labels;
  /** Whose address the target is, where it is one: calls count as calls of that service. */
  readonly service?: string;
}

export interface Clients {
  /** `target`: a service's name, `host:port`, or a URI such as `ipv4:127.0.0.1:4001,127.0.0.1:4002`. */
  of<D extends ServiceContract>(definition: D, target: string, options?: TargetOptions): Client<D>;
}

/** Answers may be larger than what servers take in: a full page of resources. */
const maxAnswerBytes = 16 * 2 ** 20;

const channelOptions = {
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  'grpc.service_config_disable_resolution': 1,
  'grpc.max_receive_message_length': maxAnswerBytes,
  'grpc.keepalive_time_ms': 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 3000,
  // client-unary.ts tries again itself, under one request id.
  'grpc.enable_retries': 0,
  'grpc.enable_channelz': 0,
};

/** Tells the resolver of service names whose lists a channel goes by, where several services share a process. */
const instanceOption = 'nephos.instance';

export class ChannelClients implements Clients, Disposable {
  readonly #env: ClientEnvironment;
  readonly #instanceId: string;
  readonly #channels = new Map<string, Channel>();
  readonly #clients = new Map<string, WeakMap<ServiceContract, unknown>>();
  #closed = false;

  constructor(env: ClientEnvironment, instanceId: string) {
    this.#env = env;
    this.#instanceId = instanceId;
  }

  of<D extends ServiceContract>(
    definition: D,
    target: string,
    { labels, service }: TargetOptions = {},
  ): Client<D> {
    const uri = callTarget(target, labels);
    const made = this.#clients.get(uri) ?? new WeakMap<ServiceContract, unknown>();
    this.#clients.set(uri, made);
    const client =
      (made.get(definition) as Client<D> | undefined) ??
      makeClient(definition, this.#channel(uri, service), this.#env);
    made.set(definition, client);
    return client;
  }

  /** Which services were called so far, ordered by name. */
  callees(): readonly CalleeCount[] {
    const byService = new Map<string, CalleeCount>();
    for (const { service, tally } of this.#channels.values()) {
      if (service === undefined || tally.calls === 0) continue;
      const { calls, failures, since } = byService.get(service) ?? {
        calls: 0,
        failures: 0,
        since: tally.since,
      };
      byService.set(service, {
        service,
        calls: calls + tally.calls,
        failures: failures + tally.failures,
        since: since < tally.since ? since : tally.since,
      });
    }
    return [...byService.values()].sort((one, other) => (one.service < other.service ? -1 : 1));
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
    this.#clients.clear();
  }

  #channel(uri: string, service = serviceOf(uri)): Channel {
    if (this.#closed) throw new Error('the service has stopped: it calls nobody any more');
    let channel = this.#channels.get(uri);
    if (channel === undefined) {
      const grpc = new GrpcClient(uri, credentials.createInsecure(), {
        ...channelOptions,
        [instanceOption]: this.#instanceId,
      });
      channel = new Channel(grpc, uri.startsWith('nephos:'), this.#env.clock.now(), service);
      this.#channels.set(uri, channel);
    }
    return channel;
  }
}

/**
 * The clients of a program that is no service, such as a command line: it joins no directory, so targets are
 * addresses. `principal`: who calls. Disposing closes the connections.
 */
export function openClients(principal: string, clock: Clock = systemClock): Clients & Disposable {
  const telemetry = { observe: () => undefined };
  return new ChannelClients({ clock, telemetry, principal }, newUid());
}
