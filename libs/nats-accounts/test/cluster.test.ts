// Accounts on a cluster: a statement holds on every server, and soon on one that was away when it was made.
import { expect, test } from '@jest/globals';
import { decode } from '@nats-io/jwt';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import { startNatsCluster, startNatsServer } from '@nephos/events/testing';
import { systemClock } from '@nephos/service';
import {
  BrokerAccounts,
  closedStatement,
  issueCredentials,
  newAccountKey,
  openBrokerKeys,
  openStatement,
} from '../src/index.ts';

test('who is shut out while a server is away is shut out there as well, seconds after it is back', async () => {
  await using cluster = await startNatsCluster({ accounts: [] });
  const [first, second, third] = cluster.servers;
  if (!first || !second || !third || !cluster.keys) throw new Error('three servers in operator mode');
  const keys = await openBrokerKeys(cluster.keys.folder, []);
  const signed = { by: keys.signer, platform: keys.platform.getPublicKey() };
  const issued = await issueCredentials(newAccountKey());
  const push = async (statement: string): Promise<void> => {
    await using accounts = await BrokerAccounts.connect(first.url, keys.files.systemCreds);
    await accounts.push(statement);
  };
  const comesIn = async ({ url }: { readonly url: string }): Promise<boolean> => {
    const authenticator = credsAuthenticator(new TextEncoder().encode(issued.creds));
    try {
      await (await connect({ servers: url, authenticator, reconnect: false })).close();
      return true;
    } catch {
      return false;
    }
  };
  const open = await openStatement(issued, signed);
  await push(open);
  for (const server of cluster.servers) expect(await comesIn(server)).toBe(true);
  await third.kill();
  await push(await closedStatement(issued.account, signed, { after: open }));
  for (const server of [first, second]) expect(await comesIn(server)).toBe(false);
  await third.restart();
  while (await comesIn(third)) await systemClock.sleep(200);
  for (const server of cluster.servers) expect(await comesIn(server)).toBe(false);
}, 120_000);

test('of statements made in one second the one that replaces is the later one, and good', async () => {
  await using server = await startNatsServer({ accounts: [] });
  const keys = await openBrokerKeys(server.keys?.folder ?? '', []);
  const signed = { by: keys.signer, platform: keys.platform.getPublicKey() };
  const issued = await issueCredentials(newAccountKey());
  await using accounts = await BrokerAccounts.connect(server.url, keys.files.systemCreds);
  let last = await openStatement(issued, signed);
  for (let round = 0; round < 5; round += 1) {
    const closed = await closedStatement(issued.account, signed, { after: last });
    const open = await openStatement(issued, signed, { after: closed });
    for (const [former, statement] of [
      [last, closed],
      [closed, open],
    ] as const) {
      expect(decode(statement).iat).toBeGreaterThan(decode(former).iat);
      await accounts.push(statement);
      expect(await accounts.statementOf(issued.account)).toBe(statement);
    }
    last = open;
  }
});
