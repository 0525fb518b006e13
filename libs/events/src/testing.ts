// What tests of other packages need of the broker: real nats-servers, one or a cluster.
export { type NatsCluster, type NatsClusterOptions, startNatsCluster } from './testing/nats-cluster.ts';
export {
  type NatsAddress,
  type NatsServer,
  type NatsServerOptions,
  natsOptions,
  startNatsServer,
} from './testing/nats-server.ts';
