/**
 * What the tests stand on: a real broker, directories and small services that join them. Each service answers
 * GetOperation with its own instance id, so that a call shows which instance it reached.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { type DirectoryHandle, type JoinOptions, joinDirectory } from '@nephos/directory';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { DirectoryServiceDefinition } from '@nephos/proto/nephos/directory/v1/directory_service';
import type { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import {
  type Client,
  defineService,
  formatAddress,
  type Logger,
  type RunningService,
  startService,
} from '@nephos/service';
import { directory } from '../src/service.ts';

/** The shortest lease there is: tests wait for leases to end. */
export const leaseMs = 1000;

/** A service that has joined. */
export interface Joined extends RunningService {
  readonly handle: DirectoryHandle;
  readonly id: string;
}

export interface ServiceOptions extends JoinOptions {
  readonly data?: string;
  readonly seeds?: string;
  readonly bind?: string;
  readonly healthy?: () => boolean;
  readonly advertise?: string;
  readonly zone?: string;
  /** File of its token. */
  readonly identity?: string;
}

export interface DirectoryOptions {
  readonly bind?: string;
  readonly data?: string;
  /** JWKS file or URL. */
  readonly trust?: string;
  /** `host:port` where its metrics are served. */
  readonly metrics?: string;
  readonly log?: Logger;
}

export class Stack implements AsyncDisposable {
  readonly #opened = new AsyncDisposableStack();
  seeds = '';

  /** A folder of its own, removed at the end. */
  async folder(): Promise<string> {
    const folder = await mkdtemp(path.join(tmpdir(), 'nephos-directory-'));
    this.#opened.defer(() => rm(folder, { recursive: true, force: true }));
    return folder;
  }

  use<T extends AsyncDisposable>(part: T): T {
    return this.#opened.use(part);
  }

  /** Starts a directory; it becomes a seed of what starts later. */
  async directory(nats: string, options: DirectoryOptions = {}): Promise<RunningService> {
    const env = {
      NEPHOS_NATS: nats,
      NEPHOS_DATA: options.data ?? (await this.folder()),
      NEPHOS_BIND: options.bind ?? '127.0.0.1:0',
      NEPHOS_LOG_LEVEL: 'silent',
      NEPHOS_DIRECTORY_TRUST: options.trust ?? '',
      NEPHOS_METRICS_BIND: options.metrics ?? '',
    };
    const { log } = options;
    const running = this.use(await startService(directory, { env, ...(log && { log }) }));
    this.seeds = [this.seeds, formatAddress(running.address)].filter((seed) => seed !== '').join(',');
    return running;
  }

  /** A directory in a process of its own; becomes a seed, as above. */
  async directoryProcess(nats: string, options: DirectoryOptions = {}): Promise<DirectoryProcess> {
    const child = spawn(process.execPath, [new URL('../src/main.ts', import.meta.url).pathname], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        NODE_NO_WARNINGS: '1',
        NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
        NEPHOS_NATS: nats,
        NEPHOS_DATA: options.data ?? (await this.folder()),
        NEPHOS_BIND: options.bind ?? '127.0.0.1:0',
        NEPHOS_LOG_TO: 'stdout',
      },
    });
    const exited = once(child, 'exit');
    const kill = async () => {
      child.kill('SIGKILL');
      await exited;
    };
    this.#opened.defer(kill);
    for await (const line of createInterface({ input: child.stdout })) {
      const { state, address } = JSON.parse(line) as { readonly state?: string; readonly address?: string };
      if (state !== 'serving' || address === undefined) continue;
      if (!this.seeds.includes(address))
        this.seeds = [this.seeds, address].filter((seed) => seed !== '').join(',');
      child.stdout.resume();
      return { address, kill };
    }
    throw new Error('the directory did not start');
  }

  async service(name: string, options: ServiceOptions = {}): Promise<Joined> {
    const {
      data = await this.folder(),
      seeds = this.seeds,
      bind = '127.0.0.1:0',
      healthy,
      advertise = '',
      zone = '',
      identity = '',
      ...join
    } = options;
    let handle: DirectoryHandle | undefined;
    const definition = defineService({
      name,
      version: '1.0.0',
      config: {},
      async start(ctx) {
        handle = await joinDirectory(ctx, { leaseMs, ...join });
        ctx.server.add(OperationsDefinition, answering(ctx.instanceId));
        if (healthy !== undefined) {
          ctx.health('test', () => {
            if (!healthy()) throw new Error('told to be unhealthy');
          });
        }
      },
    });
    const env = {
      NEPHOS_DIRECTORY: seeds,
      NEPHOS_DATA: data,
      NEPHOS_BIND: bind,
      NEPHOS_LOG_LEVEL: 'silent',
      NEPHOS_ADVERTISE: advertise,
      NEPHOS_ZONE: zone,
      NEPHOS_IDENTITY: identity,
      NEPHOS_DRAIN_DELAY: '50ms',
      NEPHOS_DRAIN_GRACE: '3s',
    };
    const running = this.use(await startService(definition, { env }));
    if (handle === undefined) throw new Error('the service did not join');
    return Object.assign(running, { handle, id: running.context.instanceId });
  }

  /** A service `orchestrator` in a process of its own. */
  async child(data: string, lease = leaseMs): Promise<Child> {
    const process_ = spawn(process.execPath, [new URL('child-service.ts', import.meta.url).pathname], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        NODE_NO_WARNINGS: '1',
        NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
        NEPHOS_DIRECTORY: this.seeds,
        NEPHOS_DATA: data,
        NEPHOS_LOG_LEVEL: 'silent',
        LEASE_MS: String(lease),
      },
    });
    const exited = once(process_, 'exit');
    const kill = async () => {
      process_.kill('SIGKILL');
      await exited;
    };
    this.#opened.defer(kill);
    const [said] = (await Promise.race([once(process_.stdout, 'data'), exited])) as unknown[];
    if (!(said instanceof Buffer)) throw new Error('the child did not start');
    return { id: said.toString().trim(), kill, signal: (name) => process_.kill(name) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }
}

export interface DirectoryProcess {
  readonly address: string;
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>;
}

export interface Child {
  readonly id: string;
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>;
  signal(name: NodeJS.Signals): void;
}

export function clientOf(
  from: Joined,
  directoryService: RunningService,
): Client<typeof DirectoryServiceDefinition> {
  return from.context.clients.of(DirectoryServiceDefinition, formatAddress(directoryService.address));
}

/** The first list of the watch that fits; fails with the test's time limit if none comes. */
export async function listed(
  handle: DirectoryHandle,
  service: string,
  fits: (uids: readonly string[], instances: readonly Instance[]) => boolean,
  selector?: Parameters<DirectoryHandle['watch']>[1],
): Promise<readonly string[]> {
  for await (const instances of handle.watch(service, selector)) {
    const uids = instances.map((instance) => instance.header?.uid ?? '').sort();
    if (fits(uids, instances)) return uids;
  }
  throw new Error(`the watch of ${service} ended`);
}

/** Which instance a call through the resolver reaches. */
export async function reached(
  from: Joined,
  target: string,
  labels: Record<string, string> = {},
): Promise<string> {
  const client = from.context.clients.of(OperationsDefinition, target, { labels });
  const { name } = await client.getOperation({ name: 'operations/who' }, { deadlineMs: 20_000 });
  return name;
}

/** Serves the one method that the tests call. */
export function answering(id: string) {
  const refuse = () => Promise.reject(new Error('not part of these tests'));
  return {
    getOperation: () => Promise.resolve({ name: id }),
    listOperations: refuse,
    deleteOperation: refuse,
    cancelOperation: refuse,
    waitOperation: refuse,
  };
}
