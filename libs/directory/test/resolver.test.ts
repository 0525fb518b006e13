/** Calls by a list on disk alone, with no directory there at all: two real servers, one of them killed. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import { defineService, formatAddress, newUid, type RunningService, startService } from '@nephos/service';
import { type DirectoryHandle, joinDirectory } from '../src/index.ts';

const quiet = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0ms' };

/** A server that answers with its name and is in no directory. */
function backend(name: string): Promise<RunningService> {
  const refuse = () => Promise.reject(new Error('not part of this test'));
  const definition = defineService({
    name: 'backend',
    version: '1',
    config: {},
    async start(ctx) {
      ctx.server.add(OperationsDefinition, {
        getOperation: () => Promise.resolve({ name }),
        listOperations: refuse,
        deleteOperation: refuse,
        cancelOperation: refuse,
        waitOperation: refuse,
      });
    },
  });
  return startService(definition, { env: quiet });
}

async function caller(data: string, directory: string) {
  let handle: DirectoryHandle | undefined;
  const definition = defineService({
    name: 'caller',
    version: '1',
    config: {},
    async start(ctx) {
      handle = await joinDirectory(ctx);
    },
  });
  const env = { ...quiet, NEPHOS_DATA: data, NEPHOS_DIRECTORY: directory };
  const running = await startService(definition, { env });
  if (handle === undefined) throw new Error('the caller did not join');
  return { running, handle };
}

async function listOnDisk(
  folder: string,
  service: string,
  listed: Record<string, RunningService>,
): Promise<void> {
  const instances = Object.entries(listed).map(([tier, { address }]) =>
    Instance.toJSON(
      Instance.fromPartial({
        header: { uid: newUid(), labels: { tier } },
        service,
        address: formatAddress(address),
        health: 1,
      }),
    ),
  );
  await mkdir(path.join(folder, 'directory'), { recursive: true });
  await writeFile(path.join(folder, 'directory', `${service}.json`), JSON.stringify(instances));
}

test('calls take turns, leave out a killed server, and follow labels', async () => {
  await using stack = new AsyncDisposableStack();
  const data = await mkdtemp(path.join(tmpdir(), 'nephos-resolver-'));
  stack.defer(() => rm(data, { recursive: true }));
  const one = stack.use(await backend('one'));
  const two = stack.use(await backend('two'));
  await listOnDisk(data, 'backend', { a: one, b: two });
  // Nobody listens on port 9: the directory is away.
  const { running, handle } = await caller(data, '127.0.0.1:9');
  stack.use(running);
  const ask = async (labels = {}) => {
    const client = running.context.clients.of(OperationsDefinition, 'backend', { labels });
    return (await client.getOperation({ name: 'operations/who' })).name;
  };

  const seen = new Set<string>();
  while (seen.size < 2) seen.add(await ask());
  expect(await ask({ tier: 'b' })).toBe('two');
  expect(await handle.resolve('backend', { labels: { tier: 'a' } })).toHaveLength(1);

  await one.stop({ graceMs: 0 });
  for (let calls = 0; calls < 10; calls += 1) expect(await ask()).toBe('two');
});

test('without any list a call fails within its deadline, and resolve says why', async () => {
  await using stack = new AsyncDisposableStack();
  const data = await mkdtemp(path.join(tmpdir(), 'nephos-resolver-'));
  stack.defer(() => rm(data, { recursive: true }));
  const { running, handle } = await caller(data, 'localhost:9');
  stack.use(running);
  await expect(handle.resolve('backend')).rejects.toMatchObject({ reason: 'SERVICE_UNAVAILABLE' });
  const client = running.context.clients.of(OperationsDefinition, 'backend');
  const call = client.getOperation({ name: 'operations/who' }, { deadlineMs: 5000, waitForReady: false });
  await expect(call).rejects.toMatchObject({ kind: 'unavailable' });
});
