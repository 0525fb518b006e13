// The events service on a broker that lets nobody in without credentials, and what a third party has: a .creds file
// and the NATS client.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type JsMsg, jetstream } from '@nats-io/jetstream';
import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node';
import { encodeEvent, eventId, streams, subjectOf } from '@nephos/events';
import { type NatsServer, natsOptions, startNatsServer } from '@nephos/events/testing';
import { CredentialServiceDefinition } from '@nephos/proto/nephos/events/v1/credential';
import { type Client, formatAddress, openClients, type RunningService, startService } from '@nephos/service';
import { eventsService } from '../../src/service.ts';

export type CredentialClient = Client<typeof CredentialServiceDefinition>;

export interface CredentialsWorld extends AsyncDisposable {
  readonly data: string;
  readonly nats: NatsServer;
  api(): CredentialClient;
  /** Another instance; needs a store that both share. */
  replica(): Promise<{ readonly api: CredentialClient; readonly stop: () => Promise<void> }>;
  start(env?: Record<string, string>): Promise<void>;
  stop(): Promise<void>;
  /** The platform's own connection. */
  inside(): Promise<NatsConnection>;
  /** Publishes an event of an entity. */
  publish(owner: string, entity: string, uid: string, sequence: number): Promise<void>;
}

export async function openCredentialsWorld(env: Record<string, string> = {}): Promise<CredentialsWorld> {
  await using opening = new AsyncDisposableStack();
  const data = await mkdtemp(path.join(tmpdir(), 'nephos-credentials-'));
  opening.defer(() => rm(data, { recursive: true, force: true }));
  const nats = opening.use(await startNatsServer({ accounts: ['events'] }));
  let running: RunningService | undefined;
  const clients = opening.use(openClients('users/tester'));
  let connection: NatsConnection | undefined;
  const instance = (more: Record<string, string> = {}): Promise<RunningService> =>
    startService(eventsService, {
      env: {
        NEPHOS_NATS: nats.url,
        NEPHOS_NATS_CREDS: nats.keys?.credsOf('events') ?? '',
        NEPHOS_EVENTS_NATS_SIGNER: nats.keys?.signer ?? '',
        NEPHOS_EVENTS_NATS_SYSTEM_CREDS: nats.keys?.systemCreds ?? '',
        NEPHOS_DATA: data,
        NEPHOS_LOG_LEVEL: 'silent',
        NEPHOS_DRAIN_DELAY: '0s',
        ...env,
        ...more,
      },
    });
  const start = async (more: Record<string, string> = {}): Promise<void> => {
    running = await instance(more);
  };
  const stop = async (): Promise<void> => {
    await running?.stop();
    running = undefined;
  };
  opening.defer(async () => {
    await connection?.close();
    await stop();
  });
  const inside = async (): Promise<NatsConnection> => {
    if (connection === undefined || connection.isClosed()) connection = await connect(natsOptions(nats));
    return connection;
  };
  await start();
  const all = opening.move();
  return {
    data,
    nats,
    start,
    stop,
    inside,
    async replica() {
      const other = await instance();
      all.use(other);
      return {
        api: clients.of(CredentialServiceDefinition, formatAddress(other.address)),
        stop: () => other.stop(),
      };
    },
    api: () => clients.of(CredentialServiceDefinition, running ? formatAddress(running.address) : ''),
    async publish(owner, entity, uid, sequence) {
      const address = { entity, uid, owner, zone: '' };
      const words = { verb: 'updated', source: '/nephos/test', name: `${entity}s/${uid}`, schema: 'Test' };
      const change = { new: { owner }, changedPaths: [] };
      const payload = { tree: 'entities' as const, address, ...words, change };
      const body = encodeEvent(payload, { seq: sequence, firstSeq: sequence, at: '2026-01-01T00:00:00Z' });
      const options = { msgID: `${owner}/${eventId(address, sequence)}` };
      await jetstream(await inside()).publish(subjectOf('entities', address), body, options);
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

export function enter(world: CredentialsWorld, creds: string): Promise<NatsConnection> {
  const authenticator = credsAuthenticator(new TextEncoder().encode(creds));
  return connect({ servers: world.nats.url, authenticator, reconnect: false });
}

/** `came in`, or why not. */
export async function attempt(world: CredentialsWorld, creds: string): Promise<string> {
  try {
    await (await enter(world, creds)).close();
    return 'came in';
  } catch (error) {
    return (error as Error).message;
  }
}

/** All that the credential's consumer has now, acknowledged. */
export async function readAll(
  connection: NatsConnection,
  account: string,
  stream: string = streams.events,
): Promise<JsMsg[]> {
  const consumer = await jetstream(connection, { domain: 'nephos' }).consumers.get(stream, account);
  const { num_pending: pending } = await consumer.info();
  const seen: JsMsg[] = [];
  if (pending === 0) return seen;
  for await (const message of await consumer.fetch({ max_messages: pending, expires: 5_000 })) {
    await message.ackAck();
    seen.push(message);
    if (seen.length === pending) break;
  }
  return seen;
}
