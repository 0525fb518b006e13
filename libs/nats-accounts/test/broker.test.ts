// The library against a real nats-server: who gets in, how far, and for how long.
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { createAccount, createUser, decode, encodeAccount, encodeUser, fmtCreds } from '@nats-io/jwt';
import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node';
import { type NatsServer, natsOptions, startNatsServer } from '@nephos/events/testing';
import {
  accountOf,
  BrokerAccounts,
  closedStatement,
  issueCredentials,
  keyFilesIn,
  newAccountKey,
  openBrokerKeys,
  openStatement,
  thirdPartyDomain,
  thirdPartyStreams,
} from '../src/index.ts';

let server: NatsServer;
let inside: NatsConnection;
let jsm: JetStreamManager;
let accounts: BrokerAccounts;

beforeAll(async () => {
  server = await startNatsServer({ accounts: [] });
  inside = await connect(natsOptions(server));
  jsm = await jetstreamManager(inside);
  await jsm.streams.add({ name: 'NEPHOS_EVENTS', subjects: ['nephos.v1.>'] });
  await jsm.streams.add({
    name: 'NEPHOS_STATE',
    sources: [{ name: 'NEPHOS_EVENTS' }],
    max_msgs_per_subject: 1,
  });
  accounts = await BrokerAccounts.connect(server.url, server.keys?.systemCreds ?? '');
});

afterAll(async () => {
  await accounts[Symbol.asyncDispose]();
  await inside.close();
  await server.stop();
});

async function signing() {
  const keys = await openBrokerKeys(server.keys?.folder ?? '', []);
  return { by: keys.signer, platform: keys.platform.getPublicKey() };
}

/** An account with its consumers, in force. */
async function thirdParty(filter: string) {
  const issued = await issueCredentials(newAccountKey());
  await accounts.push(await openStatement(issued, await signing()));
  for (const stream of thirdPartyStreams) {
    const config = { durable_name: issued.account, filter_subject: filter, ack_policy: 'explicit' as const };
    await jsm.consumers.add(stream, config);
  }
  return issued;
}

function enter(creds: string): Promise<NatsConnection> {
  const authenticator = credsAuthenticator(new TextEncoder().encode(creds));
  return connect({ servers: server.url, authenticator, reconnect: false });
}

const refused = (connecting: Promise<NatsConnection>): Promise<string> =>
  connecting.then(
    async (connection) => {
      await connection.close();
      return 'came in';
    },
    (error: Error) => error.message,
  );

test('keys are made once, for their owner alone', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nephos-keys-'));
  try {
    const first = await openBrokerKeys(folder, ['one']);
    const second = await openBrokerKeys(folder, ['one', 'two']);
    expect(second.operator.getPublicKey()).toBe(first.operator.getPublicKey());
    expect(second.platform.getPublicKey()).toBe(first.platform.getPublicKey());
    const files = await readdir(folder, { recursive: true, withFileTypes: true });
    const modes = files
      .filter((file) => file.isFile())
      .map(async (file) => (await stat(join(file.parentPath, file.name))).mode & 0o777);
    expect(new Set(await Promise.all(modes))).toEqual(new Set([0o600]));
    expect(files.filter((file) => file.isFile())).toHaveLength(7);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('nobody comes in without credentials, nor with those of another broker', async () => {
  expect(await refused(connect({ servers: server.url, reconnect: false }))).toMatch(/Authorization/);
  const folder = await mkdtemp(join(tmpdir(), 'nephos-keys-'));
  try {
    await openBrokerKeys(folder, ['stranger']);
    const authenticator = credsAuthenticator(await readFile(keyFilesIn(folder).credsOf('stranger')));
    expect(await refused(connect({ servers: server.url, authenticator, reconnect: false }))).toMatch(
      /Authorization/,
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a third party fetches and acknowledges its slice with a plain client', async () => {
  const { account, creds } = await thirdParty('nephos.v1.acme.>');
  expect(await accountOf(creds)).toBe(account);
  const js = jetstream(inside);
  for (const owner of ['acme', 'bob', 'acme']) await js.publish(`nephos.v1.${owner}.z.vm.x`, owner);
  await using third = await entered(creds);
  const consumer = await jetstream(third.connection, { domain: thirdPartyDomain }).consumers.get(
    'NEPHOS_EVENTS',
    account,
  );
  const seen: string[] = [];
  for await (const message of await consumer.fetch({ max_messages: 10, expires: 1_000 })) {
    seen.push(message.string());
    expect(await message.ackAck()).toBe(true);
  }
  expect(seen).toEqual(['acme', 'acme']);
  expect((await jsm.consumers.info('NEPHOS_EVENTS', account)).num_ack_pending).toBe(0);
});

test('even a faulty statement, signed by the operator, reaches no consumer of another', async () => {
  const victim = await thirdParty('nephos.v1.acme.>');
  const thief = await issueCredentials(newAccountKey());
  const statement = await openStatement({ account: victim.account, signer: thief.signer }, await signing());
  const { nats } = decode<{ imports: never[]; signing_keys: string[]; limits: object }>(statement);
  const { by } = await signing();
  await accounts.push(await encodeAccount('thief', thief.account, nats, { signer: by }));
  const open = await issueUnbound(thief.account);
  await accounts.push(
    await encodeAccount('thief', thief.account, { ...nats, signing_keys: [open.signer] }, { signer: by }),
  );
  await using third = await entered(open.creds);
  const subject = `$JS.${thirdPartyDomain}.API.CONSUMER.INFO.NEPHOS_EVENTS.${victim.account}`;
  await expect(third.connection.request(subject, '', { timeout: 1_000 })).rejects.toThrow(/no responders/);
});

test('newer credentials cut off the older ones, a closed account lets nobody in', async () => {
  const { account, creds } = await thirdParty('nephos.v1.acme.>');
  await using first = await entered(creds);
  const newer = await issueCredentials(account);
  const statement = await openStatement(newer, await signing());
  await accounts.push(statement);
  await first.connection.closed();
  expect(await refused(enter(creds))).toMatch(/Authorization/);
  await using second = await entered(newer.creds);
  const { by } = await signing();
  await accounts.push(await closedStatement(account, { by }));
  await second.connection.closed();
  expect(await refused(enter(newer.creds))).toMatch(/Authorization/);
  expect(await accounts.statementOf(account)).not.toBe(statement);
  await accounts.remove([account], by);
  await accounts.remove([account], by);
  expect((await accounts.list()).has(account)).toBe(false);
});

test('an account that expires while connected is cut off', async () => {
  const issued = await thirdParty('nephos.v1.acme.>');
  await using third = await entered(issued.creds);
  await accounts.push(
    await openStatement(issued, await signing(), { expireTime: new Date(Date.now() + 4_000) }),
  );
  await third.connection.closed();
  expect(await refused(enter(issued.creds))).toMatch(/Authorization/);
});

test('statements stay over a kill of the server; what it lost is seen to be missing', async () => {
  await using own = await startNatsServer({ accounts: [] });
  const connected = () => BrokerAccounts.connect(own.url, own.keys?.systemCreds ?? '');
  const { signer: by, platform } = await openBrokerKeys(own.keys?.folder ?? '', []);
  const issued = await issueCredentials(newAccountKey());
  const statement = await openStatement(issued, { by, platform: platform.getPublicKey() });
  const [first, second] = [issued.account, newAccountKey()];
  {
    await using before = await connected();
    await before.push(statement);
    await before.push(await closedStatement(second, { by }));
  }
  await own.kill();
  await expect(connected()).rejects.toThrow(/takes no connection/);
  await rm(join(own.keys?.folder ?? '', '..', 'accounts', `${second}.jwt`));
  await own.restart();
  await using after = await connected();
  expect(await after.statementOf(first)).toBe(statement);
  const listed = await after.list();
  expect([listed.has(first), listed.has(second)]).toEqual([true, false]);
});

async function entered(creds: string): Promise<AsyncDisposable & { readonly connection: NatsConnection }> {
  const connection = await enter(creds);
  return { connection, [Symbol.asyncDispose]: () => connection.close() };
}

/** Credentials that forbid nothing: only the account binds them. */
async function issueUnbound(account: string): Promise<{ readonly signer: string; readonly creds: string }> {
  const signer = createAccount();
  const user = createUser();
  const token = await encodeUser('unbound', user, account, {}, { signer });
  return { signer: signer.getPublicKey(), creds: new TextDecoder().decode(fmtCreds(token, user)) };
}
