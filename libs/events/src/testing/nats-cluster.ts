/**
 * A cluster of real nats-servers with JetStream on loopback, for tests of this and other packages.
 * Invariants: ports and data of each server stay the same over `kill` and `restart`; all are stopped at the end, and
 * temporary folders are removed. If this process ends first, the servers end with it, as a single one does.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { systemClock } from '@nephos/service';
import { freePort } from '@nephos/service/testing';
import { type NatsAddress, type NatsServer, natsOptions, startNatsServer } from './nats-server.ts';

export interface NatsClusterOptions {
  /** How many servers. Default 3. */
  readonly size?: number;
  /** Where to keep data. Default: a temporary folder. */
  readonly storeDir?: string;
  /** Names of those who get credentials, as of a single server. */
  readonly accounts?: readonly string[];
}

export interface NatsCluster extends NatsAddress, AsyncDisposable {
  /** Of all servers, comma-separated; does not change. */
  readonly url: string;
  readonly servers: readonly NatsServer[];
  /** The server that leads a stream. Waits until there is one. */
  leaderOf(stream: string): Promise<NatsServer>;
  /** The folder in which a server keeps its data. */
  folderOf(server: NatsServer): string;
  /** Resolves once the cluster takes orders and all copies of all streams are current. */
  whole(): Promise<void>;
  stop(): Promise<void>;
}

const waitMs = 60_000;
const lookMs = 100;

/** Starts the servers and waits until they have a leader. */
export async function startNatsCluster(options: NatsClusterOptions = {}): Promise<NatsCluster> {
  await using starting = new AsyncDisposableStack();
  const { size = 3, storeDir, accounts } = options;
  const root = storeDir ?? (await mkdtemp(join(tmpdir(), 'nephos-nats-cluster-')));
  if (storeDir === undefined) starting.defer(() => rm(root, { recursive: true, force: true }));
  const routes: number[] = [];
  while (routes.length < size) routes.push(await freePort());
  const servers: NatsServer[] = [];
  for (const [at, port] of routes.entries()) {
    const folder = join(root, `n${at + 1}`);
    await mkdir(folder, { recursive: true });
    const member = { cluster: 'nephos', name: `n${at + 1}`, port, routes, keys: join(root, 'keys') };
    const own = { storeDir: folder, port: await freePort(), member, ...(accounts && { accounts }) };
    servers.push(starting.use(await startNatsServer(own)));
  }
  const cluster = new Cluster(root, servers, starting.move());
  await cluster.whole();
  return cluster;
}

class Cluster implements NatsCluster {
  readonly url: string;
  readonly servers: readonly NatsServer[];
  readonly #root: string;
  readonly #running: AsyncDisposableStack;

  constructor(root: string, servers: readonly NatsServer[], running: AsyncDisposableStack) {
    this.#root = root;
    this.servers = servers;
    this.#running = running;
    this.url = servers.map(({ url }) => url).join();
  }

  get keys(): NatsServer['keys'] {
    return this.servers[0]?.keys;
  }

  folderOf(server: NatsServer): string {
    return join(this.#root, `n${this.servers.indexOf(server) + 1}`);
  }

  async leaderOf(stream: string): Promise<NatsServer> {
    return await this.#eventually(`${stream} has a leader`, async (connection) => {
      const jsm = await jetstreamManager(connection, { timeout: 1_000 });
      const leader = (await jsm.streams.info(stream)).cluster?.leader ?? '';
      return this.servers[Number(leader.slice(1)) - 1];
    });
  }

  async whole(): Promise<void> {
    await this.#eventually('all copies are current', async (connection) => {
      const jsm = await jetstreamManager(connection, { timeout: 1_000 });
      for await (const { cluster } of jsm.streams.list()) {
        if (!cluster?.leader || (cluster.replicas ?? []).some(({ current }) => !current)) return undefined;
      }
      return true;
    });
  }

  async stop(): Promise<void> {
    await this.#running.disposeAsync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Asks until there is an answer, over whichever server is there. Throws when there is none for a minute. */
  async #eventually<R>(
    what: string,
    ask: (connection: NatsConnection) => Promise<R | undefined>,
  ): Promise<R> {
    const giveUpAt = systemClock.monotonic() + waitMs;
    for (;;) {
      try {
        const connection = await connect({ ...natsOptions(this), reconnect: false });
        try {
          const answer = await ask(connection);
          if (answer !== undefined) return answer;
        } finally {
          await connection.close();
        }
      } catch (cause) {
        if (systemClock.monotonic() > giveUpAt) throw new Error(`never came true: ${what}`, { cause });
      }
      if (systemClock.monotonic() > giveUpAt) throw new Error(`never came true: ${what}`);
      await systemClock.sleep(lookMs);
    }
  }
}
