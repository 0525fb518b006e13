import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import { Sender } from '../src/adapters/sender.ts';
import { TargetPolicy } from '../src/domain/target.ts';
import { Endpoint } from './support/endpoint.ts';

async function attempt(url: string, allowed: readonly string[]) {
  using sender = new Sender(new TargetPolicy(allowed), systemClock);
  const { signal } = new AbortController();
  return await sender.send({ url: new URL(url), headers: {}, body: '{}', timeoutMs: 5000, signal });
}

test('a name that leads to this machine is refused before anything is connected to', async () => {
  await using endpoint = await Endpoint.listen();
  const { port } = new URL(endpoint.url);
  const { status, error } = await attempt(`https://localhost:${port}/`, []);
  expect({ status, error }).toEqual({
    status: 0,
    error: 'localhost does not lead to public addresses alone',
  });
  expect(endpoint.received).toHaveLength(0);
  expect((await attempt(endpoint.url, ['127.0.0.1/32'])).status).toBe(204);
});

test('what goes wrong is told without the path, which may hold a token', async () => {
  const { error } = await attempt('https://127.0.0.1:1/t0ken', ['127.0.0.0/8']);
  expect(error).toMatch(/ECONNREFUSED|connect/);
  expect(error).not.toContain('t0ken');
});

test('an answer whose body has no end does not hold its connection', async () => {
  const server = http.createServer((request, response) => {
    request.resume();
    response.writeHead(200).write('more follows');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const closed = once(server, 'connection').then(([socket]) => once(socket, 'close'));
    using sender = new Sender(new TargetPolicy(['127.0.0.1/32']), systemClock);
    const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    const { signal } = new AbortController();
    const { status } = await sender.send({ url, headers: {}, body: '{}', timeoutMs: 5000, signal });
    expect(status).toBe(200);
    await closed;
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
