/**
 * Answers NATS's own service discovery (ADR-32, `$SRV.PING|INFO|STATS[.name[.id]]`), so that `nats micro ls` and any
 * plain client see the platform's services: id, version, address, contracts, and how many calls each has served.
 * `@nats-io/services` mints ids of its own and serves requests over NATS; ours are the directory's, and calls are
 * gRPC, so an endpoint's subject names the contract and nobody listens there.
 * From serving to draining, in each session. Nothing is kept.
 */
import type { Msg } from '@nats-io/nats-core';
import { type Address, formatAddress, type ServedCount } from '@nephos/service';
import type { Bus, Session } from './bus.ts';

/** What is told of a service; its ServiceContext fits. */
export interface Discoverable {
  readonly name: string;
  readonly version: string;
  readonly instanceId: string;
  readonly config: { readonly zone: string };
  readonly server: { readonly served: readonly ServedCount[] };
  readonly lifecycle: {
    onServing(react: (address: Address) => void): void;
    onDraining(react: () => void): void;
  };
}

const verbs = ['PING', 'INFO', 'STATS'] as const;
type Verb = (typeof verbs)[number];

/** Answers while the service serves and the bus is there. */
export function answerDiscovery(bus: Bus, service: Discoverable): void {
  const answering = new DisposableStack();
  service.lifecycle.onServing((address) => {
    const answers = new Answers(service, address, bus.clock.now());
    answering.use(bus.onSession((session) => answers.listen(session, answering)));
  });
  service.lifecycle.onDraining(() => answering.dispose());
}

class Answers {
  readonly #service: Discoverable;
  readonly #address: string;
  readonly #started: Date;

  constructor(service: Discoverable, address: Address, started: Date) {
    this.#service = service;
    this.#address = formatAddress(address);
    this.#started = started;
  }

  listen({ connection, signal }: Session, ends: DisposableStack): void {
    const { name, instanceId } = this.#service;
    const subscriptions = verbs.flatMap((verb) =>
      [`$SRV.${verb}`, `$SRV.${verb}.${name}`, `$SRV.${verb}.${name}.${instanceId}`].map((subject) =>
        connection.subscribe(subject, {
          callback: (error, message) => {
            if (error === null) this.#answer(verb, message);
          },
        }),
      ),
    );
    const stop = () => {
      for (const subscription of subscriptions) if (!subscription.isClosed()) subscription.unsubscribe();
    };
    signal.addEventListener('abort', stop, { once: true });
    if (ends.disposed) stop();
    else ends.defer(stop);
  }

  #answer(verb: Verb, message: Msg): void {
    const { name, version, instanceId: id, config, server } = this.#service;
    const contracts = server.served.map(({ contract }) => contract).join(',');
    const metadata = { address: this.#address, zone: config.zone, grpc_services: contracts };
    const type = `io.nats.micro.v1.${verb.toLowerCase()}_response`;
    message.respond(JSON.stringify({ type, name, id, version, metadata, ...this.#more(verb) }));
  }

  #more(verb: Verb): object {
    const { name, server } = this.#service;
    if (verb === 'PING') return {};
    if (verb === 'INFO') {
      const description = `Nephos ${name}, gRPC at ${this.#address}`;
      return { description, endpoints: server.served.map(({ contract }) => this.#endpoint(contract)) };
    }
    return {
      started: this.#started.toISOString(),
      endpoints: server.served.map((each) => this.#stats(each)),
    };
  }

  #endpoint(contract: string) {
    return {
      // Names take no dots.
      name: contract.replaceAll('.', '-'),
      subject: `grpc.${contract}`,
      queue_group: '',
      metadata: { protocol: 'grpc', contract, address: this.#address },
    };
  }

  #stats(served: ServedCount) {
    const { metadata: _metadata, ...endpoint } = this.#endpoint(served.contract);
    const nanoseconds = (ms: number) => Math.round(ms * 1e6);
    return {
      ...endpoint,
      num_requests: served.calls,
      num_errors: served.failures,
      last_error: '',
      processing_time: nanoseconds(served.busyMs),
      average_processing_time: nanoseconds(served.calls === 0 ? 0 : served.busyMs / served.calls),
    };
  }
}
