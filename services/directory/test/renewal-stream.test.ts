/** Renewals over a stream: what the directory answers, and how a service goes on where the stream cannot. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { Health } from '@nephos/directory';
import { openIssuer } from '@nephos/directory/identity';
import { startNatsServer } from '@nephos/events/testing';
import {
  DirectoryServiceDefinition,
  type KeepInstancesRequest,
} from '@nephos/proto/nephos/directory/v1/directory_service';
import {
  type Call,
  type Client,
  type DeepPartial,
  defineService,
  newUid,
  type RunningService,
  startService,
  systemClock,
} from '@nephos/service';
import { clientOf, listed, Stack } from './stack.ts';

/** A stream of renewals that the test writes one by one. */
function keeping(client: Client<typeof DirectoryServiceDefinition>, metadata: Record<string, string> = {}) {
  let next = Promise.withResolvers<DeepPartial<KeepInstancesRequest>>();
  async function* requests() {
    for (;;) {
      yield await next.promise;
      next = Promise.withResolvers();
    }
  }
  const answers = client.keepInstances(requests(), { metadata })[Symbol.asyncIterator]();
  return async (renewal?: DeepPartial<KeepInstancesRequest>['renewal']) => {
    next.resolve({ renewal });
    const { value, done } = await answers.next();
    if (done === true) throw new Error('the stream ended');
    return value;
  };
}

const leaseTtl = { seconds: 60n, nanos: 0 };
const instance = (uid: string, service = 'streamed') => ({
  header: { uid },
  service,
  address: '127.0.0.1:9',
  health: Health.SERVING,
  leaseTtl,
});

test('a stream renews any number of instances, answers each, and ends with one that is no renewal', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const client = clientOf(caller, directory);
  const uids = [newUid(), newUid()];
  for (const uid of uids) await client.registerInstance({ instance: instance(uid), beat: 1n });
  const renew = keeping(client);
  for (const [at, uid] of uids.entries()) {
    const load = (at + 1) / 4;
    const name = `instances/${uid}`;
    expect(await renew({ name, beat: 2n, health: Health.NOT_SERVING, load })).toEqual({ leaseTtl });
    expect(await client.getInstance({ name })).toMatchObject({ load, health: Health.NOT_SERVING });
  }
  const unknown = { name: `instances/${newUid()}`, beat: 1n, health: Health.SERVING };
  expect(await renew(unknown)).toEqual({});
  const [uid] = uids;
  expect(await renew({ name: `instances/${uid}`, beat: 3n, health: Health.SERVING })).toEqual({ leaseTtl });
  await expect(keeping(client)()).rejects.toMatchObject({ reason: 'FIELD_REQUIRED' });
  const nameless = { name: randomUUID(), beat: 1n, health: Health.SERVING };
  await expect(keeping(client)(nameless)).rejects.toMatchObject({ kind: 'invalid' });
});

test('each renewal of a stream is held against its token: for its own service alone, and until it expires', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const issuer = await openIssuer(await stack.folder());
  const directory = await stack.directory(nats.url, { trust: issuer.trust });
  const caller = await stack.service('caller');
  const client = clientOf(caller, directory);
  const bearer = async (lifetimeMs: number, ageMs = 0) => {
    const issuedAt = new Date(systemClock.now().getTime() - ageMs);
    return { authorization: `Bearer ${await issuer.sign({ service: 'streamed', issuedAt, lifetimeMs })}` };
  };
  const metadata = await bearer(3_600_000);
  const [own, other] = [newUid(), newUid()];
  await client.registerInstance({ instance: instance(own), beat: 1n }, { metadata });
  const sign = { service: 'other', issuedAt: systemClock.now(), lifetimeMs: 3_600_000 };
  const theirs = { authorization: `Bearer ${await issuer.sign(sign)}` };
  await client.registerInstance({ instance: instance(other, 'other'), beat: 1n }, { metadata: theirs });

  const said = (uid: string, beat: bigint) => ({ name: `instances/${uid}`, beat, health: Health.SERVING });
  const renew = keeping(client, metadata);
  expect(await renew(said(own, 2n))).toEqual({ leaseTtl });
  await expect(renew(said(other, 2n))).rejects.toMatchObject({ reason: 'PERMISSION_DENIED' });
  await expect(keeping(client)(said(own, 3n))).rejects.toMatchObject({ reason: 'IDENTITY_UNKNOWN' });

  // It ends while the stream is open; the directory allows clocks to differ by 30 s.
  const ending = keeping(client, await bearer(2000, 30_000));
  expect(await ending(said(own, 4n))).toEqual({ leaseTtl });
  const untilRefused = async () => {
    for (let beat = 5n; ; beat += 1n) {
      await ending(said(own, beat));
      await systemClock.sleep(50);
    }
  };
  await expect(untilRefused()).rejects.toMatchObject({ reason: 'IDENTITY_UNKNOWN' });
});

/** What a directory that a test makes up was asked. */
interface Asked {
  readonly method: string;
  readonly call: Call;
  readonly beat: bigint;
}

/** A directory that takes every word, and streams as the test says. */
async function madeUp(
  stack: Stack,
  keep: 'unknown' | 'silent' | 'broken' | 'well',
): Promise<{
  readonly running: RunningService;
  /** Calls of the method so far, once there are so many. */
  asked(method: string, count: number): Promise<readonly Asked[]>;
}> {
  const all: Asked[] = [];
  let heard = Promise.withResolvers<void>();
  const hear = (method: string, call: Call, beat: bigint) => {
    all.push({ method, call, beat });
    heard.resolve();
    heard = Promise.withResolvers();
  };
  async function* keepInstances(requests: AsyncIterable<KeepInstancesRequest>, call: Call) {
    for await (const { renewal } of requests) {
      hear('keep', call, renewal?.beat ?? 0n);
      if (keep === 'silent') await new Promise(() => {});
      if (keep === 'broken') return;
      yield { leaseTtl };
    }
  }
  const handlers = {
    registerInstance: async ({ instance: asked, beat }: { instance?: unknown; beat: bigint }, call: Call) => {
      hear('register', call, beat);
      return asked ?? {};
    },
    renewInstance: async ({ beat }: { beat: bigint }, call: Call) => {
      hear('renew', call, beat);
      return { leaseTtl };
    },
    deregisterInstance: async () => ({}),
    async *watchInstances() {
      yield { update: { $case: 'list' as const, value: { instances: [], settled: true, version: 1n } } };
    },
    ...(keep !== 'unknown' && { keepInstances }),
  };
  const definition = defineService({
    name: 'directory',
    version: '1.0.0',
    config: {},
    start: async ({ server }) => server.add(DirectoryServiceDefinition, handlers as never),
  });
  const env = {
    NEPHOS_DATA: await stack.folder(),
    NEPHOS_BIND: '127.0.0.1:0',
    NEPHOS_LOG_LEVEL: 'silent',
    NEPHOS_DRAIN_DELAY: '10ms',
    NEPHOS_DRAIN_GRACE: '1s',
  };
  const running = stack.use(await startService(definition, { env }));
  stack.seeds = `${running.address.host}:${running.address.port}`;
  return {
    running,
    async asked(method, count) {
      for (;;) {
        const found = all.filter((each) => each.method === method);
        if (found.length >= count) return found;
        await heard.promise;
      }
    },
  };
}

test('a service renews over one stream; a directory that knows none is told by calls', async () => {
  await using stack = new Stack();
  const well = await madeUp(stack, 'well');
  await stack.service('streamed');
  const kept = await well.asked('keep', 4);
  expect(new Set(kept.map(({ call }) => call)).size).toBe(1);
  expect(await well.asked('renew', 0)).toEqual([]);

  const older = await madeUp(stack, 'unknown');
  await stack.service('streamed');
  const beats = (await older.asked('renew', 4)).map(({ beat }) => beat);
  // The first renewal tried the stream: its beat is never heard. Then nobody tries for a while.
  expect(beats.map((beat) => beat - (beats[0] ?? 0n))).toEqual([0n, 1n, 2n, 3n]);
});

test('what a stream that ends or falls silent did not get across is said by a call, and a new stream opened', async () => {
  for (const kind of ['broken', 'silent'] as const) {
    await using stack = new Stack();
    const directory = await madeUp(stack, kind);
    await stack.service('streamed');
    const kept = await directory.asked('keep', 2);
    const renewed = await directory.asked('renew', 1);
    expect(renewed[0]?.beat).toBe((kept[0]?.beat ?? 0n) + 1n);
    expect(kept[1]?.beat).toBe((kept[0]?.beat ?? 0n) + 2n);
    expect(kept[1]?.call).not.toBe(kept[0]?.call);
  }
});

test('a new token opens a new stream', async () => {
  await using stack = new Stack();
  const directory = await madeUp(stack, 'well');
  const identity = path.join(await stack.folder(), 'token');
  await writeFile(identity, 'one');
  await stack.service('streamed', { identity });
  await directory.asked('keep', 2);
  await writeFile(identity, 'two');
  for (let count = 3; ; count += 1) {
    const tokens = new Set((await directory.asked('keep', count)).map(({ call }) => call.token));
    if (tokens.has('two')) return expect([...tokens]).toEqual(['one', 'two']);
  }
});

test('a directory that is killed and started anew gets registrations and streams again', async () => {
  await using stack = new Stack();
  const nats = stack.use(await startNatsServer());
  const first = await stack.directoryProcess(nats.url);
  const caller = await stack.service('caller');
  const one = await stack.service('orchestrator');
  await listed(caller.handle, 'orchestrator', (uids) => uids.length === 1);
  await first.kill();
  await nats.kill();
  await nats.restart();
  await stack.directoryProcess(nats.url, { bind: first.address });
  const two = await stack.service('orchestrator');
  const both = [one.id, two.id].sort();
  expect(await listed(caller.handle, 'orchestrator', (uids) => uids.length === 2)).toEqual(both);
});
