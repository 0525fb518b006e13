/** How whoever takes part in a run comes to its broker: with short windows, and as many copies as the run is about. */
import { type Bus, connectBus } from '@nephos/events';
import type { NatsAddress } from '@nephos/events/testing';
import type { Clock, CommonConfig, ServiceContext } from '@nephos/service';
import { streamOptions } from './entity.ts';

const silent = (): void => undefined;
const quietLog = { debug: silent, info: silent, warn: silent, error: silent };

/** How often they look whether the streams are still those they knew, in milliseconds. */
const verifyMs = 300;

export function connectTo({ url: nats, keys }: NatsAddress, clock: Clock, replicas = 1): Promise<Bus> {
  const streams = { ...streamOptions, replicas };
  const natsCreds = keys?.credsOf('faults');
  return connectBus({ name: 'faults', clock, log: quietLog, nats, natsCreds, streams, verifyMs });
}

/** The same for a process, by its own configuration. */
export function busOf({ name, clock, log, resources, config }: ServiceContext): Promise<Bus> {
  const { nats, natsCreds, natsReplicas: replicas } = config as CommonConfig;
  const streams = { ...streamOptions, replicas };
  return connectBus({ name, clock, log, resources, nats, natsCreds, streams, verifyMs });
}
