import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import grpc from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import {
  config,
  defineService,
  NephosError,
  type ServiceContext,
  startService,
  Unavailable,
} from '../src/index.ts';
import { collect, EchoDefinition, echoService, quiet, startEcho } from './echo.ts';

const same = (bytes: Buffer): Buffer => bytes;

/** The standard health service as a stranger asks it: 1 serving, 2 not serving; a gRPC code below 0 for errors. */
async function healthOf(client: grpc.Client, service = ''): Promise<number> {
  const request = Buffer.from(new BinaryWriter().uint32(10).string(service).finish());
  return new Promise((resolve) => {
    client.makeUnaryRequest('/grpc.health.v1.Health/Check', same, same, request, (error, answer) => {
      if (error !== null) return resolve(-error.code);
      const reader = new BinaryReader(answer ?? Buffer.alloc(0));
      reader.tag();
      resolve(reader.int32());
    });
  });
}

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}

describe('life', () => {
  test('goes from starting to stopped, tells whoever asked, and disposes in reverse', async () => {
    const seen: string[] = [];
    const lines: string[] = [];
    const service = await startService(
      defineService({
        name: 'lifely',
        version: '1.2.3',
        config: { size: config.bytes({ description: 'how large', default: 1024 }) },
        async start({ lifecycle, resources, config: { size } }) {
          seen.push(`${lifecycle.state} ${size}`);
          lifecycle.onServing(({ host }) => {
            seen.push(`${lifecycle.state} at ${host}`);
          });
          lifecycle.onDraining(() => {
            seen.push(lifecycle.state);
          });
          resources.defer(() => void seen.push('first opened'));
          resources.defer(() => void seen.push('last opened'));
        },
      }),
      { env: { NEPHOS_DRAIN_DELAY: '0ms' }, logTo: { write: (line) => lines.push(line) } },
    );
    await service.stop();
    await service.stop();
    expect(await service.closed).toEqual({});
    expect(seen).toEqual([
      'starting 1024',
      'serving at 127.0.0.1',
      'draining',
      'last opened',
      'first opened',
    ]);
    const states = lines.map((line) => (JSON.parse(line) as { state?: string }).state);
    expect(states).toEqual(['starting', 'serving', 'draining', 'stopped']);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ service: 'lifely', version: '1.2.3', level: 'info' });
  });

  test('a start that fails closes what it had opened', async () => {
    const seen: string[] = [];
    const starting = startService(
      defineService({
        name: 'failing',
        version: '1',
        config: {},
        async start(context) {
          const { resources } = context;
          resources.defer(() => void seen.push('closed'));
          context.background('loop', async (signal) => {
            await new Promise((resolve) => signal.addEventListener('abort', resolve));
            seen.push('loop ended');
          });
          throw new Error('no such disk');
        },
      }),
      { env: quiet },
    );
    await expect(starting).rejects.toThrow('no such disk');
    expect(seen).toEqual(['loop ended', 'closed']);
  });

  test('an address that is taken fails the start', async () => {
    await using first = await startService(echoService(), { env: quiet });
    const env = { ...quiet, NEPHOS_BIND: `127.0.0.1:${first.address.port}` };
    await expect(startService(echoService(), { env })).rejects.toThrow(Unavailable);
  });

  test('a background loop that throws begins anew; it ends before what it stands on', async () => {
    const seen: string[] = [];
    const third = Promise.withResolvers<void>();
    let runs = 0;
    const service = await startService(
      echoService({}, (context) => {
        context.resources.defer(() => void seen.push('closed'));
        context.background('wobbly', async (signal) => {
          runs += 1;
          if (runs < 3) throw new Error(`run ${runs}`);
          third.resolve();
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
          seen.push('ended');
        });
      }),
      { env: quiet },
    );
    await third.promise;
    await service.stop();
    expect(seen).toEqual(['ended', 'closed']);
  });

  test('fail drains and stops, and says why', async () => {
    let context: ServiceContext | undefined;
    const service = await startService(
      echoService({}, (given) => {
        context = given;
      }),
      { env: quiet },
    );
    const lost = new Error('the store is lost');
    context?.fail(lost);
    expect(await service.closed).toEqual({ failure: lost });
    expect(context?.lifecycle.state).toBe('stopped');
  });
});

describe('health', () => {
  test('a failing check makes the service NOT_SERVING until it passes again', async () => {
    let broken = false;
    const changes: boolean[] = [];
    await using service = await startService(
      echoService({}, (context) => {
        context.health('disk', () => {
          if (broken) throw new Error('full');
        });
        context.lifecycle.onHealth((healthy) => changes.push(healthy));
      }),
      { env: quiet },
    );
    const client = new grpc.Client(`127.0.0.1:${service.address.port}`, grpc.credentials.createInsecure());
    try {
      expect(await healthOf(client)).toBe(1);
      expect(await healthOf(client, EchoDefinition.fullName)).toBe(1);
      expect(await healthOf(client, 'nobody')).toBe(-grpc.status.NOT_FOUND);
      broken = true;
      await until(async () => (await healthOf(client)) === 2);
      broken = false;
      await until(async () => (await healthOf(client, EchoDefinition.fullName)) === 1);
      expect(changes).toEqual([false, true]);
    } finally {
      client.close();
    }
  });

  test('a watcher sees the drain before the server is gone', async () => {
    const service = await startService(echoService(), { env: quiet });
    const client = new grpc.Client(`127.0.0.1:${service.address.port}`, grpc.credentials.createInsecure());
    const states: number[] = [];
    const watch = client.makeServerStreamRequest('/grpc.health.v1.Health/Watch', same, same, Buffer.alloc(0));
    const ended = new Promise((resolve) => watch.on('end', resolve));
    watch.on('error', () => {});
    const serving = new Promise<void>((resolve) => {
      watch.on('data', (bytes: Buffer) => {
        const reader = new BinaryReader(bytes);
        reader.tag();
        states.push(reader.int32());
        resolve();
      });
    });
    await serving;
    await service.stop();
    await ended;
    expect(states).toEqual([1, 2]);
    client.close();
  });
});

describe('drain', () => {
  test('under load, with another instance there: no unary call fails', async () => {
    const slow = async (request: { reason: string }) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      return request;
    };
    await using staying = await startService(echoService({ say: slow }), { env: quiet });
    const leaving = await startService(echoService({ say: slow }), { env: quiet });
    await using caller = await startService(echoService(), { env: quiet });
    const target = `ipv4:127.0.0.1:${staying.address.port},127.0.0.1:${leaving.address.port}`;
    const client = caller.context.clients.of(EchoDefinition, target);
    let stopped = false;
    let answered = 0;
    const callers = Array.from({ length: 16 }, async () => {
      for (let after = 0; after < 10; ) {
        await client.say({ reason: 'load' });
        answered += 1;
        if (stopped) after += 1;
      }
    });
    await until(() => answered > 100);
    await leaving.stop({ graceMs: 5000 });
    stopped = true;
    await Promise.all(callers);
    expect(answered).toBeGreaterThan(250);
  });

  test('a unary call under way is let finish', async () => {
    const began = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const echo = await startEcho({
      say: async (request) => {
        began.resolve();
        await finish.promise;
        return request;
      },
    });
    const answer = echo.client.say({ reason: 'patience' });
    await began.promise;
    const stopping = echo.service.stop({ graceMs: 10_000 });
    finish.resolve();
    expect((await answer).reason).toBe('patience');
    await stopping;
    await echo.caller.stop();
  });

  test('open streams of every kind end with SERVER_DRAINING; a handler may say last words', async () => {
    const open = Promise.withResolvers<void>();
    let opened = 0;
    const began = (): void => {
      opened += 1;
      if (opened === 4) open.resolve();
    };
    const echo = await startEcho({
      async *count({ reason }, call) {
        began();
        yield { reason: 'first' };
        if (reason === 'deaf') await new Promise(() => {});
        await new Promise((resolve) => call.signal.addEventListener('abort', resolve));
        yield { reason: 'last words' };
      },
      async *chat(requests) {
        began();
        for await (const request of requests) yield request;
      },
      async gather(requests) {
        began();
        for await (const _ of requests);
        return {};
      },
    });
    const never = async function* () {
      await new Promise(() => {});
      yield {};
    };
    const read: string[] = [];
    const polite = (async () => {
      for await (const { reason } of echo.client.count({})) read.push(reason);
    })();
    const streams = [
      polite,
      collect(echo.client.count({ reason: 'deaf' })),
      collect(echo.client.chat(never())),
      echo.client.gather(never()),
    ].map((stream) =>
      stream.then(
        () => 'ended',
        (error: unknown) => (error as NephosError).reason,
      ),
    );
    await open.promise;
    await echo.service.stop({ graceMs: 10_000 });
    expect(await Promise.all(streams)).toEqual(Array.from(streams, () => 'SERVER_DRAINING'));
    expect(read).toEqual(['first', 'last words']);
    await echo.caller.stop();
  });

  test('a call that outlasts the grace is cut, and the stop goes on', async () => {
    const began = Promise.withResolvers<void>();
    const echo = await startEcho({
      say: async () => {
        began.resolve();
        return new Promise(() => {});
      },
    });
    const failure = echo.client.say({}, { deadlineMs: 60_000 }).catch((error: unknown) => error);
    await began.promise;
    await echo.service.stop({ graceMs: 50 });
    expect(echo.service.context.lifecycle.state).toBe('stopped');
    expect(await failure).toBeInstanceOf(Unavailable);
    await echo.caller.stop();
  });

  test('a service that stops cancels the calls that it makes, also those that wait for a connection', async () => {
    const echo = await startEcho({ say: () => new Promise(() => {}) });
    const waiting = echo.caller.context.clients.of(EchoDefinition, 'ipv4:127.0.0.1:1');
    const calls = [
      echo.client.say({}),
      waiting.say({}, { waitForReady: true }),
      collect(waiting.count({}, { waitForReady: true })),
    ].map((call) => expect(call).rejects.toMatchObject({ reason: 'CALL_CANCELLED' }));
    await echo.caller.stop();
    await Promise.all(calls);
    await echo.service.stop({ graceMs: 0 });
  });
});
