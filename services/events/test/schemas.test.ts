// The catalog over gRPC and over plain HTTP.
import { request } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SchemaServiceDefinition } from '@nephos/proto/nephos/events/v1/schema';
import type { Client } from '@nephos/service';
import { serveSchemas } from '../src/adapters/schema-server.ts';
import { Catalog } from '../src/catalog.ts';
import { Stack } from './support/stack.ts';

let stack: Stack;
let schemas: Client<typeof SchemaServiceDefinition>;
const base = 'http://schemas.example:7409';

beforeAll(async () => {
  stack = await Stack.open();
  const { at } = await stack.replica({ NEPHOS_SCHEMA_BASE: base });
  schemas = stack.clients.of(SchemaServiceDefinition, at);
});

afterAll(async () => stack[Symbol.asyncDispose]());

test('over gRPC: listed in pages, got one by one', async () => {
  const names: string[] = [];
  let pageToken = '';
  do {
    const page = await schemas.listSchemas({ pageSize: 20, pageToken });
    names.push(...page.schemas.map(({ name, content }) => name + content));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  expect(names).toEqual(names.toSorted());
  expect(names).toEqual(
    expect.arrayContaining(['schemas/nephos.orchestration.v1.Vm', 'schemas/dev.nephos.job.v1.succeeded']),
  );
  const { content } = await schemas.getSchema({ name: 'schemas/nephos.orchestration.v1.Vm.change' });
  expect(JSON.parse(content)).toMatchObject({
    $id: `${base}/schemas/nephos.orchestration.v1.Vm.change.json`,
  });
  expect(JSON.parse((await schemas.getAsyncApi({})).content)).toMatchObject({ asyncapi: '3.0.0' });
  for (const name of ['', 'Vm', 'x/y'])
    await expect(schemas.getSchema({ name })).rejects.toMatchObject({ kind: 'invalid' });
  await expect(schemas.getSchema({ name: 'schemas/__proto__' })).rejects.toMatchObject({ kind: 'not-found' });
});

test('over HTTP: the same documents, read only, with nothing else behind it', async () => {
  const catalog = new Catalog({ version: '1', base });
  await using server = await serveSchemas(catalog, { host: '127.0.0.1', port: 0 });
  const get = (path: string, init: RequestInit = {}) => fetch(server.url + path, init);

  const found = await get('/schemas/nephos.orchestration.v1.Vm.change.json');
  expect([found.status, found.headers.get('content-type')]).toEqual([200, 'application/schema+json']);
  expect(await found.text()).toBe(catalog.schemas.get('nephos.orchestration.v1.Vm.change'));
  const etag = found.headers.get('etag') ?? '';
  const again = await get('/schemas/nephos.orchestration.v1.Vm.change.json', {
    headers: { 'If-None-Match': etag },
  });
  expect([again.status, await again.text()]).toEqual([304, '']);
  expect(await (await get('/asyncapi.json?x=1')).json()).toMatchObject({ asyncapi: '3.0.0' });
  const head = await get('/asyncapi.json', { method: 'HEAD' });
  expect([head.status, await head.text()]).toEqual([200, '']);

  for (const path of [
    '/',
    '/schemas/',
    '/schemas/Nothing.json',
    '/schemas/__proto__.json',
    '/schemas/%2e%2e%2fx.json',
    '/schemas/..%2f..%2fetc%2fpasswd',
  ]) {
    const answer = await get(path);
    expect([path, answer.status]).toEqual([path, 404]);
    expect(await answer.text()).toMatch(/\/asyncapi\.json/);
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
    expect([method, (await get('/asyncapi.json', { method })).status]).toEqual([method, 405]);
  }
  expect(await statusOf(`${server.url}/schemas/${'a'.repeat(20_000)}.json`)).toBe(431);
  expect(
    await raw(server.url, 'GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
  ).toMatch(/^HTTP\/1.1 404/);
  expect(await raw(server.url, 'nonsense\r\n\r\n')).toMatch(/^HTTP\/1.1 400/);
});

test('an address that is taken is told when the service starts', async () => {
  const catalog = new Catalog({ version: '1', base: '' });
  await using server = await serveSchemas(catalog, { host: '127.0.0.1', port: 0 });
  const port = Number(new URL(server.url).port);
  await expect(serveSchemas(catalog, { host: '127.0.0.1', port })).rejects.toMatchObject({
    kind: 'unavailable',
  });
});

function statusOf(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .once('error', reject)
      .end();
  });
}

function raw(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let said = '';
    const socket = connect({ host: hostname, port: Number(port) }, () => socket.write(text));
    socket.setEncoding('utf8').on('data', (piece: string) => (said += piece));
    socket.once('close', () => resolve(said)).once('error', reject);
  });
}
