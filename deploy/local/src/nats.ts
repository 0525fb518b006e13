/**
 * The broker of the local platform: JetStream in the data folder, on loopback, each write synced where it can be.
 * It lets nobody in without credentials; its keys and everybody's credentials are made once, in the data folder.
 */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { brokerConfig, openBrokerKeys } from '@nephos/nats-accounts';
import { Precondition } from '@nephos/service';
import { host, type Layout, operatorCreds, serviceNames } from './layout.ts';
import type { ChildSpec } from './supervised.ts';

/** Debian keeps servers in /usr/sbin, which is not on every PATH. */
const searchPath = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
/** The first release that can sync each write. */
const syncsSince = [2, 10] as const;

/** Writes its configuration and says how to start it. Throws `Precondition` where it is not installed. */
export async function prepareNats({
  nats,
  state,
}: Layout): Promise<ChildSpec & { readonly version: string }> {
  const version = await natsVersion();
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const syncs = major > syncsSince[0] || (major === syncsSince[0] && minor >= syncsSince[1]);
  await mkdir(nats.store, { recursive: true });
  const keys = await openBrokerKeys(nats.keys.folder, [...serviceNames, operatorCreds]);
  const lines = [
    `listen: "${host}:${nats.port}"`,
    'server_name: "nephos-local"',
    'jetstream {',
    `  store_dir: ${JSON.stringify(nats.store)}`,
    ...(syncs ? ['  sync_interval: "always"'] : []),
    '}',
    await brokerConfig(keys, nats.accounts),
  ];
  await mkdir(state, { recursive: true });
  await writeFile(nats.config, `${lines.join('\n')}\n`);
  return {
    name: 'nats-server',
    command: 'nats-server',
    args: ['--config', nats.config],
    env: { PATH: searchPath },
    version,
  };
}

async function natsVersion(): Promise<string> {
  const run = promisify(execFile)('nats-server', ['--version'], {
    env: { ...process.env, PATH: searchPath },
  });
  const { stdout } = await run.catch((cause: unknown) => {
    throw new Precondition(
      'SERVICE_UNAVAILABLE',
      'nats-server, the message bus, is not installed: apt-get install nats-server',
      { cause },
    );
  });
  return /(\d+\.\d+\.\d+)/.exec(stdout)?.[1] ?? '0.0.0';
}
