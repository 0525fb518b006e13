/**
 * The directory by clients that are none of ours: bare grpc-js that knows the contract only from its descriptors, and
 * Python's grpcio that asks the server for them. grpcio comes with `npm run setup`; where it could
 * not, the test says that this half did not run.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import {
  createFileRegistry,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
  toJson,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Client, type ClientReadableStream, credentials, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startNatsServer } from '@nephos/events/testing';
import { descriptorsPath } from '@nephos/proto/descriptors';
import { formatAddress, newUid } from '@nephos/service';
import { type Joined, listed, Stack } from './stack.ts';

type Json = Record<string, unknown>;

let stack: Stack;
let address: string;
let caller: Joined;
beforeAll(async () => {
  stack = new Stack();
  const nats = stack.use(await startNatsServer());
  address = formatAddress((await stack.directory(nats.url)).address);
  caller = await stack.service('caller');
  await listed(caller.handle, 'caller', (uids) => uids.length === 1);
});
afterAll(() => stack[Symbol.asyncDispose]());

const contract = 'nephos.directory.v1.DirectoryService';

/** Calls by name with JSON, by descriptors alone. */
function bareClient() {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptorsPath)));
  const service = registry.getService(contract);
  const grpc = new Client(address, credentials.createInsecure());
  const parts = (name: string) => {
    const method = service?.methods.find((each) => each.name === name);
    if (method === undefined) throw new Error(`the contract has no ${name}`);
    const encode = (json: Json) =>
      Buffer.from(toBinary(method.input, fromJson(method.input, json as JsonValue)));
    const decode = (bytes: Buffer) =>
      toJson(method.output, fromBinary(method.output, bytes), { registry }) as Json;
    return { path: `/${contract}/${name}`, encode, decode };
  };
  return {
    unary(name: string, request: Json): Promise<Json> {
      const { path: uri, encode, decode } = parts(name);
      return new Promise((resolve, reject) => {
        grpc.makeUnaryRequest(uri, encode, decode, request, (error: ServiceError | null, answer?: Json) =>
          answer === undefined ? reject(error ?? new Error('no answer')) : resolve(answer),
        );
      });
    },
    watch(request: Json): ClientReadableStream<Json> {
      const { path: uri, encode, decode } = parts('WatchInstances');
      return grpc.makeServerStreamRequest(uri, encode, decode, request);
    },
    [Symbol.dispose]: () => grpc.close(),
  };
}

test('bare grpc-js registers, resolves and watches', async () => {
  using client = bareClient();
  const uid = newUid();
  const instance = {
    header: { uid, zone: 'zones/east', labels: { tier: 'a' } },
    service: 'foreign',
    version: '3.1',
    address: '192.0.2.7:50051',
    health: 'HEALTH_SERVING',
    leaseTtl: '30s',
  };
  const watching = client.watch({ selector: { service: 'foreign', labels: { tier: 'a' } }, changes: true });
  watching.on('error', () => undefined);
  const messages = watching[Symbol.asyncIterator]();
  const next = async (): Promise<Json> => {
    for (;;) {
      const { value } = await messages.next();
      if ((value as Json)['heartbeat'] === undefined) return value as Json;
    }
  };
  await next();
  await client.unary('RegisterInstance', { instance, beat: '1' });
  let update = await next();
  while (JSON.stringify(update).includes(uid) === false) update = await next();
  expect(update).toMatchObject({ changes: { added: [{ address: '192.0.2.7:50051', version: '3.1' }] } });
  expect(
    await client.unary('ListInstances', { filter: 'service = "foreign" AND labels.tier = "a"' }),
  ).toMatchObject({
    instances: [{ header: { uid, name: `instances/${uid}` } }],
  });
  await client.unary('DeregisterInstance', { name: `instances/${uid}`, beat: '2' });
  expect(await next()).toMatchObject({ changes: { removed: [`instances/${uid}`] } });
  watching.cancel();
});

/** `npm run setup` puts them there where Python with pip is. */
const packages = path.resolve(import.meta.dirname, '../../../.cache/python');
const env = { ...process.env, PYTHONPATH: packages };

test('Python resolves and watches by reflection', async () => {
  if (!existsSync(path.join(packages, 'grpc_reflection'))) {
    process.stderr.write(
      'NOT RUN: grpcio is not here (npm run setup gets it where Python with pip is); the example is untested\n',
    );
    return;
  }
  const script = path.resolve(import.meta.dirname, '../../../libs/directory/examples/find.py');
  const { stdout } = await promisify(execFile)('python3', [script, address, 'caller'], { env });
  const found = JSON.parse(stdout) as Json;
  expect(found).toMatchObject({ instances: [{ service: 'caller', address: formatAddress(caller.address) }] });

  const child = spawn('python3', [script, address, 'pythons', '--watch'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const said = async (fits: (message: Json) => boolean) => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done === true) throw new Error('the watch ended');
      const message = JSON.parse(value) as Json;
      if (fits(message)) return message;
    }
  };
  await said(({ list }) => list !== undefined);
  const one = await stack.service('pythons');
  const came = await said((message) => JSON.stringify(message).includes(one.id));
  expect(came).toMatchObject({ changes: { added: [{ address: formatAddress(one.address) }] } });
  await one.stop();
  expect(await said(({ changes }) => (changes as Json)?.['removed'] !== undefined)).toMatchObject({
    changes: { removed: [`instances/${one.id}`] },
  });
  const exited = once(child, 'exit');
  child.kill();
  await exited;
});
