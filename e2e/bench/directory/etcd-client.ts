/** etcd over bare gRPC: as much as a directory made of leases and keys needs. */
import path from 'node:path';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { serviceOf, ttlMs, uidOf } from './commands.ts';

/** A machine that does much else as well may take long for a thousand calls. */
const patienceMs = 120_000;

interface KeyValue {
  readonly key: Buffer;
  readonly value: Buffer;
}

export interface WatchResponse {
  readonly created: boolean;
  readonly events: readonly { readonly type: 'PUT' | 'DELETE'; readonly kv: KeyValue }[];
}

const definition = loadSync(path.join(import.meta.dirname, 'etcd.proto'), {
  longs: String,
  enums: String,
  defaults: true,
  keepCase: true,
});

type Method = grpc.MethodDefinition<object, object>;

function methodOf(service: string, name: string): Method {
  const found = definition[`etcdserverpb.${service}`] as Readonly<Record<string, Method>> | undefined;
  const method = found?.[name];
  if (method === undefined) throw new Error(`etcd.proto has no ${service}.${name}`);
  return method;
}

const methods = {
  range: methodOf('KV', 'Range'),
  put: methodOf('KV', 'Put'),
  watch: methodOf('Watch', 'Watch'),
  grant: methodOf('Lease', 'LeaseGrant'),
  keepAlive: methodOf('Lease', 'LeaseKeepAlive'),
};

export function keyOf(number: number): string {
  return `${serviceOf(number)}/${uidOf(number)}`;
}

export class Etcd {
  readonly #client: grpc.Client;

  /** A connection of its own. */
  constructor(target: string) {
    this.#client = new grpc.Client(target, grpc.credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  async ready(): Promise<void> {
    await this.range('service-0/');
  }

  async range(prefix: string): Promise<{ readonly kvs: readonly KeyValue[]; readonly revision: number }> {
    const answered = await this.#unary<{ kvs: KeyValue[]; header: { revision: string } }>(methods.range, {
      key: Buffer.from(prefix),
      range_end: endOf(prefix),
    });
    return { kvs: answered.kvs, revision: Number(answered.header.revision) };
  }

  async put(key: string, value: Uint8Array, lease: string): Promise<void> {
    await this.#unary(methods.put, { key: Buffer.from(key), value: Buffer.from(value), lease });
  }

  async grant(): Promise<string> {
    const { ID } = await this.#unary<{ ID: string }>(methods.grant, { TTL: ttlMs / 1000 });
    return ID;
  }

  /** One stream that keeps any number of leases: write an id to keep it once. */
  keepAlive(): { keep(lease: string): void; end(): void } {
    const { path: at, requestSerialize, responseDeserialize } = methods.keepAlive;
    const stream = this.#client.makeBidiStreamRequest(at, requestSerialize, responseDeserialize);
    stream.on('data', () => undefined);
    stream.on('error', () => undefined);
    return { keep: (ID) => void stream.write({ ID }), end: () => stream.cancel() };
  }

  /** Follows a prefix from a revision on. Ends with the connection. */
  watch(prefix: string, fromRevision: number, onResponse: (response: WatchResponse) => void): void {
    const { path: at, requestSerialize, responseDeserialize } = methods.watch;
    const stream = this.#client.makeBidiStreamRequest(at, requestSerialize, responseDeserialize);
    stream.on('data', onResponse);
    stream.on('error', () => undefined);
    stream.write({
      create_request: { key: Buffer.from(prefix), range_end: endOf(prefix), start_revision: fromRevision },
    });
  }

  close(): void {
    this.#client.close();
  }

  #unary<R>(method: Method, request: object): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        { deadline: performance.timeOrigin + performance.now() + patienceMs },
        (error, answered) => {
          if (error === null && answered !== undefined) resolve(answered as R);
          else reject(error ?? new Error('no answer'));
        },
      );
    });
  }
}

/** The first key behind all that begin with the prefix. */
function endOf(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return end;
}
