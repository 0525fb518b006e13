/** What a plain NATS client learns by asking `$SRV`, as `nats micro ls|info|stats` does. */

import { expect, test } from '@jest/globals';
import { connect, createInbox, type NatsConnection } from '@nats-io/transport-node';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import {
  defineService,
  formatAddress,
  openClients,
  type RunningService,
  startService,
  systemClock,
} from '@nephos/service';
import { connectBus } from '../src/index.ts';
import { startNatsServer } from '../src/testing.ts';

const quiet = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0ms' };

function start(name: string, nats: string): Promise<RunningService> {
  const refuse = () => Promise.reject(new Error('not part of this test'));
  const definition = defineService({
    name,
    version: '1.2.3',
    config: {},
    async start(ctx) {
      await connectBus(ctx);
      ctx.server.add(OperationsDefinition, {
        getOperation: () => Promise.resolve({ name: 'x' }),
        listOperations: refuse,
        deleteOperation: refuse,
        cancelOperation: refuse,
        waitOperation: refuse,
      });
    },
  });
  return startService(definition, { env: { ...quiet, NEPHOS_NATS: nats, NEPHOS_ZONE: 'zones/east' } });
}

/** Asks until as many as expected have answered; before the services have connected, nobody does. */
async function ask(connection: NatsConnection, subject: string, wanted: number) {
  for (;;) {
    const found = new Map<string, Record<string, unknown>>();
    const inbox = createInbox();
    const answers = connection.subscribe(inbox);
    using _late = systemClock.timer(300, () => answers.unsubscribe());
    connection.publish(subject, '', { reply: inbox });
    for await (const message of answers) {
      if (message.headers?.code === 503) break;
      const answer = message.json<Record<string, unknown>>();
      found.set(String(answer['id']), answer);
    }
    answers.unsubscribe();
    if (found.size === wanted) return [...found.values()];
    await systemClock.sleep(20);
  }
}

test('services answer PING, INFO and STATS to all, to their name and to their id', async () => {
  await using stack = new AsyncDisposableStack();
  const nats = stack.use(await startNatsServer());
  const one = stack.use(await start('template', nats.url));
  const two = stack.use(await start('template', nats.url));
  const other = stack.use(await start('job-control', nats.url));
  const connection = await connect({ servers: nats.url });
  stack.defer(() => connection.close());
  const ids = (...services: RunningService[]) => services.map(({ context }) => context.instanceId).sort();
  const answered = async (subject: string, wanted: number) =>
    (await ask(connection, subject, wanted)).map(({ id }) => String(id)).sort();

  expect(await answered('$SRV.PING', 3)).toEqual(ids(one, two, other));
  expect(await answered('$SRV.PING.template', 2)).toEqual(ids(one, two));
  const id = one.context.instanceId;
  const address = formatAddress(one.address);
  const contract = 'google.longrunning.Operations';
  const common = {
    name: 'template',
    id,
    version: '1.2.3',
    metadata: { address, zone: 'zones/east', grpc_services: contract },
  };
  expect(await ask(connection, `$SRV.PING.template.${id}`, 1)).toEqual([
    { type: 'io.nats.micro.v1.ping_response', ...common },
  ]);
  const endpoint = { name: 'google-longrunning-Operations', subject: `grpc.${contract}`, queue_group: '' };
  expect(await ask(connection, `$SRV.INFO.template.${id}`, 1)).toEqual([
    {
      type: 'io.nats.micro.v1.info_response',
      ...common,
      description: `Nephos template, gRPC at ${address}`,
      endpoints: [{ ...endpoint, metadata: { protocol: 'grpc', contract, address } }],
    },
  ]);

  using clients = openClients('users/tester');
  const client = clients.of(OperationsDefinition, address);
  for (let call = 0; call < 3; call += 1) await client.getOperation({ name: 'x' });
  await client.deleteOperation({ name: 'x' }).catch(() => undefined);
  const [stats] = await ask(connection, `$SRV.STATS.template.${id}`, 1);
  expect(stats).toMatchObject({
    type: 'io.nats.micro.v1.stats_response',
    endpoints: [{ ...endpoint, num_requests: 4, num_errors: 1, processing_time: expect.any(Number) }],
  });
  expect(new Date(String(stats?.['started'])).toString()).not.toBe('Invalid Date');

  await two.stop();
  expect(await answered('$SRV.PING.template', 1)).toEqual(ids(one));
  await nats.restart();
  expect(await answered('$SRV.PING', 2)).toEqual(ids(one, other));
});
