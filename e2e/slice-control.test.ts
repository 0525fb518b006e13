// The controls of slice.test.ts, by the same attempts: a user inside the platform's own account breaks out however
// few its permissions, and one without any permissions in an account of its own does not.
import { expect, test } from '@jest/globals';
import { type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { createAccount, createUser, encodeUser, fmtCreds } from '@nats-io/jwt';
import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node';
import { type NatsServer, natsOptions, startNatsServer } from '@nephos/events/testing';
import {
  BrokerAccounts,
  issueCredentials,
  newAccountKey,
  openBrokerKeys,
  openStatement,
  thirdPartyStreams,
} from '@nephos/nats-accounts';
import { standing, type Tried, tryToLeave } from './support/leaving.ts';

const patient = { timeout: 60_000 };
const settle = () => new Promise((resolve) => setTimeout(resolve, 2_500));

function enter(url: string, creds: string): Promise<NatsConnection> {
  const authenticator = credsAuthenticator(new TextEncoder().encode(creds));
  // What it says itself in its own account is no news to it.
  return connect({ servers: url, authenticator, reconnect: false, noEcho: true });
}

/** A broker with streams as the platform's, events of two owners, and nothing else. */
async function bareGround(server: NatsServer) {
  const inside = await connect(natsOptions(server));
  const jsm = await jetstreamManager(inside, patient);
  await jsm.streams.add({ name: 'NEPHOS_EVENTS', subjects: ['nephos.v1.>'], allow_direct: true });
  const state = { name: 'NEPHOS_STATE', sources: [{ name: 'NEPHOS_EVENTS' }], max_msgs_per_subject: 1 };
  await jsm.streams.add({ ...state, allow_direct: true });
  await jsm.streams.add({ name: 'KV_nephos-directory', subjects: ['$KV.nephos-directory.>'] });
  const keys = await openBrokerKeys(server.keys?.folder ?? '', []);
  const accounts = await BrokerAccounts.connect(server.url, server.keys?.systemCreds ?? '');
  for (const owner of ['acme', 'bob']) {
    for (let at = 0; at < 5; at += 1) {
      await jetstream(inside, patient).publish(
        `nephos.v1.${owner}._.vm.${at}`,
        JSON.stringify({ owner, at }),
      );
    }
  }
  return { inside, jsm, keys, accounts };
}

async function addConsumers(jsm: JetStreamManager, name: string, owner: string): Promise<void> {
  for (const stream of thirdPartyStreams) {
    const config = {
      durable_name: name,
      filter_subject: `nephos.v1.${owner}.>`,
      ack_policy: 'explicit' as const,
    };
    await jsm.consumers.add(stream, config);
  }
}

async function outcome(
  inside: NatsConnection,
  before: Awaited<ReturnType<typeof standing>>,
  tried: Tried,
  marker: string,
) {
  await settle();
  const after = await standing(inside, marker);
  return {
    leaked: [...new Set(tried.leaked)].slice(0, 20),
    marked: after.marked.length,
    purged: after.first !== before.first,
    streams: Object.keys(before.streams).every((name) => after.streams[name] === before.streams[name]),
    consumers: Object.keys(before.consumers).every(
      (name) => after.consumers[name] === before.consumers[name],
    ),
  };
}

const whole = { leaked: [], marked: 0, purged: false, streams: true, consumers: true };

test('permissions within the platform’s account do not hold, an account of its own does', async () => {
  await using server = await startNatsServer({ accounts: [] });
  const { inside: opened, jsm, keys, accounts: opener } = await bareGround(server);
  await using inside = opened;
  await using accounts = opener;
  const signing = { by: keys.signer, platform: keys.platform.getPublicKey() };
  const victim = await issueCredentials(newAccountKey());
  await accounts.push(await openStatement(victim, signing));
  await addConsumers(jsm, victim.account, 'bob');
  const other = { consumer: victim.account, subject: 'nephos.v1.bob._.vm.0' };

  // Bound by nothing but its account: no permissions of the user.
  const [account, signer, user] = [newAccountKey(), createAccount(), createUser()];
  await accounts.push(await openStatement({ account, signer: signer.getPublicKey() }, signing));
  await addConsumers(jsm, account, 'acme');
  const token = await encodeUser('unbound', user, account, {}, { signer });
  await using unbound = await enter(server.url, new TextDecoder().decode(fmtCreds(token, user)));
  const own = { consumer: account, slice: 'nephos.v1.acme.', api: '$JS.nephos.API' };
  const first = await standing(inside, 'unbound');
  const tried = await tryToLeave(unbound, { own, other, marker: 'unbound' });
  expect(await outcome(inside, first, tried, 'unbound')).toEqual(whole);

  // The least rights that one may have within the account: to ask for one's own messages and acknowledge.
  const [insider, name] = [createUser(), 'insider'];
  await addConsumers(jsm, name, 'acme');
  const rights = thirdPartyStreams.flatMap((stream) => [
    `$JS.API.CONSUMER.INFO.${stream}.${name}`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`,
    `$JS.ACK.${stream}.${name}.>`,
  ]);
  const bound = { pub: { allow: rights }, sub: { allow: ['_INBOX.insider.>'] } };
  const insiderToken = await encodeUser(name, insider, keys.platform, bound);
  await using within = await enter(server.url, new TextDecoder().decode(fmtCreds(insiderToken, insider)));
  const second = await standing(inside, 'insider');
  const ways = {
    own: { consumer: name, slice: 'nephos.v1.acme.', api: '$JS.API' },
    other,
    marker: 'insider',
  };
  const broken = await outcome(inside, second, await tryToLeave(within, ways), 'insider');
  // The server answers a request onto whatever subject it is told, on behalf of the account: what a user without any
  // right to publish there asked for stands in the events, in another's state, and in the directory's bucket.
  const { marked } = await standing(inside, 'insider');
  expect(marked).toEqual(
    expect.arrayContaining([
      'nephos.v1.injected.insider.vm.by-reply',
      other.subject,
      '$KV.nephos-directory.insider',
    ]),
  );
  expect(broken.marked).toBe(marked.length);
  process.stdout.write(
    `  within the account, ${marked.length} messages were forged: ${[...new Set(marked)].join(', ')}\n`,
  );
});
