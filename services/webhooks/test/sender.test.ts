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
    error: expect.stringMatching(/^localhost leads to (127\.0\.0\.1|::1), which is not public$/),
  });
  expect(endpoint.received).toHaveLength(0);
  expect((await attempt(endpoint.url, ['127.0.0.1/32'])).status).toBe(204);
});

test('what goes wrong is told without the path, which may hold a token', async () => {
  const { error } = await attempt('https://127.0.0.1:1/t0ken', ['127.0.0.0/8']);
  expect(error).toMatch(/ECONNREFUSED|connect/);
  expect(error).not.toContain('t0ken');
});
