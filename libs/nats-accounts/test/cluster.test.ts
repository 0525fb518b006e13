// Accounts on a cluster: a statement holds on every server, and soon on one that was away when it was made.
import { expect, test } from '@jest/globals';
import { connect, credsAuthenticator } from '@nats-io/transport-node';
import { startNatsCluster } from '@nephos/events/testing';
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
  await push(await openStatement(issued, signed));
  for (const server of cluster.servers) expect(await comesIn(server)).toBe(true);
  await third.kill();
  await push(await closedStatement(issued.account, signed));
  for (const server of [first, second]) expect(await comesIn(server)).toBe(false);
  await third.restart();
  const backAt = performance.now();
  while (await comesIn(third)) await new Promise((resolve) => setTimeout(resolve, 200));
  // The server's own default would be a minute.
  expect(performance.now() - backAt).toBeLessThan(45_000);
}, 120_000);
