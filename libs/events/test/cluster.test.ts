// A cluster of brokers: everything is kept in as many copies as were asked for, and goes on when servers do not.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { type Bus, connectBus, type EventsLog, startRelay, streams, subscribe } from '../src/index.ts';
import { Publisher } from '../src/publisher.ts';
import { ensureStreams } from '../src/streams.ts';
import { type NatsCluster, natsOptions, startNatsCluster, startNatsServer } from '../src/testing.ts';
import { context, countersOf, nothingWrong, Oracle, openGround, until } from './harness.ts';

let cluster: NatsCluster;

beforeAll(async () => {
  cluster = await startNatsCluster({ accounts: ['events'] });
}, 90_000);

afterAll(() => cluster.stop());

function busOn(replicas: number, log: EventsLog = context.log): Promise<Bus> {
  const natsCreds = cluster.keys?.credsOf('events');
  return connectBus({ ...context, log, nats: cluster.url, natsCreds, streams: { replicas }, verifyMs: 500 });
}

/** Copies of each stream, and of each consumer that lasts. */
async function copies(): Promise<Record<string, number>> {
  await using connection = await connect(natsOptions(cluster));
  const jsm = await jetstreamManager(connection);
  const found: Record<string, number> = {};
  for await (const { config } of jsm.streams.list()) {
    found[config.name] = config.num_replicas;
    for await (const consumer of jsm.consumers.list(config.name)) {
      found[consumer.name] = 1 + (consumer.cluster?.replicas?.length ?? 0);
    }
  }
  return found;
}

const all = [streams.events, streams.state, streams.jobEvents, streams.deadLetters];

test('what was made with one copy is raised to three, durable consumers too, and never lowered', async () => {
  {
    await using alone = await busOn(1);
    await using early = subscribe(alone, { name: 'early' }, async () => undefined);
    await early.started;
    expect(await copies()).toEqual({ ...Object.fromEntries(all.map((name) => [name, 1])), early: 1 });
  }
  await using bus = await busOn(3);
  await bus.ready();
  await using later = subscribe(bus, { name: 'later' }, async () => undefined);
  await later.started;
  const three = { ...Object.fromEntries(all.map((name) => [name, 3])), early: 3, later: 3 };
  await until('all have three copies', async () => {
    // While copies are made, a busy cluster may not answer in time.
    const found = await copies().catch(() => ({ unknown: 0 }));
    return Object.values(found).every((count) => count === 3);
  });
  await using modest = await busOn(1);
  await modest.ready();
  expect(await copies()).toEqual(three);
}, 90_000);

test('the leader of the stream may be killed, with no server to spare, and nothing is lost', async () => {
  await using ground = await openGround();
  await using publishing = await busOn(3);
  await using listening = await busOn(3);
  await using relay = startRelay(context, { store: ground.store, bus: publishing });
  const oracle = new Oracle();
  await using subscription = subscribe(listening, { name: 'oracle' }, async (event) => oracle.see(event));
  await subscription.started;
  const ids = Array.from({ length: 20 }, (_, at) => `e${at}`);
  for (const id of ids) await ground.zones.insert(id, { owner: 'acme', description: '' });
  const leader = await cluster.leaderOf(streams.events);
  await leader.kill();
  for (const id of ids) await ground.zones.modify(id, (value) => ({ ...value, description: 'without it' }));
  await relay.flush();
  await leader.restart();
  const counters = await countersOf(ground.zones);
  await until('all came', () => ids.every((id) => oracle.last(id) === counters.get(id)));
  expect(oracle.judge(counters)).toEqual(nothingWrong);
  expect(subscription.counts).toMatchObject({ resynced: 0, deadLetters: 0 });
}, 180_000);

test('more copies than there are servers: an operator is told at once, by the name of the setting', async () => {
  const said: string[] = [];
  const log = { ...context.log, error: (_: object, message: string): void => void said.push(message) };
  await using single = await startNatsServer();
  await using bus = await connectBus({
    ...context,
    log,
    nats: single.url,
    streams: { replicas: 3 },
    verifyMs: 500,
  });
  await until('it was said', () => said.length > 0);
  expect(said[0]).toContain('NEPHOS_NATS_REPLICAS asks for 3 copies');
  expect(bus.session).toBeUndefined();

  // What there is goes on with the copies it has.
  await using modest = await connectBus({ ...context, nats: single.url });
  await modest.ready();
  await bus.ready();
  await until('it was said again', () => said.length > 1);

  await using connection = await connect(natsOptions(cluster));
  const jsm = await jetstreamManager(connection);
  await jsm.streams.delete(streams.deadLetters).catch(() => false);
  const five = ensureStreams(jsm, { replicas: 5 }, context.log, context.clock);
  await expect(five).rejects.toMatchObject({
    kind: 'precondition',
    message: expect.stringContaining('5 copies'),
  });
}, 60_000);

test('a repeat that the cluster has not agreed upon yet is no acknowledgement', async () => {
  await using server = await startNatsServer();
  await using connection = await connect(natsOptions(server));
  // What a leader of 2.9 answers to a message id that it has proposed and that no other server has confirmed.
  const answer = JSON.stringify({ stream: 'NEPHOS_EVENTS', seq: 0, duplicate: true });
  connection.subscribe('told', { callback: (_, message) => void message.respond(answer) });
  using publisher = new Publisher(connection, context.clock, () => undefined);
  await expect(publisher.publish('told', '{}', 'one')).rejects.toMatchObject({ kind: 'unavailable' });
});
