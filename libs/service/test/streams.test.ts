import { describe, expect, test } from '@jest/globals';
import { Cancelled, Denied } from '../src/index.ts';
import { collect, EchoDefinition, startEcho } from './echo.ts';

describe('streams', () => {
  test('all four kinds of method', async () => {
    await using echo = await startEcho();
    const three = async function* () {
      yield* [{ reason: 'a' }, { reason: 'b' }, { reason: 'c' }];
    };
    const reasons = (items: { reason: string }[]): string[] => items.map(({ reason }) => reason);
    expect((await echo.client.say({ reason: 'hello' })).reason).toBe('hello');
    expect(reasons(await collect(echo.client.count({ reason: '3' })))).toEqual(['0', '1', '2']);
    expect((await echo.client.gather(three())).reason).toBe('a,b,c');
    expect(reasons(await collect(echo.client.chat(three())))).toEqual(['a!', 'b!', 'c!']);
  });

  test('a stream counts as a call from its start, at an address as well where its service was said', async () => {
    await using echo = await startEcho();
    const { clients, callees } = echo.caller.context;
    const client = clients.of(EchoDefinition, echo.target.replace('127.0.0.1', 'localhost'), {
      service: 'echo',
    });
    const requests = Promise.withResolvers<{ reason: string }>();
    const talk = client.chat(
      (async function* () {
        yield await requests.promise;
      })(),
    );
    const first = talk[Symbol.asyncIterator]().next();
    expect(callees()).toMatchObject([{ service: 'echo', calls: 1, failures: 0 }]);
    requests.resolve({ reason: 'a' });
    expect((await first).value).toMatchObject({ reason: 'a!' });
    await client.say({});
    expect(callees()).toMatchObject([{ service: 'echo', calls: 2, failures: 0 }]);
  });

  test('a reader that leaves cancels the handler, and its generator is closed', async () => {
    const closed = Promise.withResolvers<void>();
    await using echo = await startEcho({
      async *count(_, call) {
        try {
          for (;;) {
            yield { reason: 'more' };
            if (call.signal.aborted) return;
          }
        } finally {
          closed.resolve();
        }
      },
    });
    for await (const { reason } of echo.client.count({})) {
      expect(reason).toBe('more');
      break;
    }
    await closed.promise;
  });

  test('a handler that is slow to end does not keep its caller’s cancellation from closing it', async () => {
    const stuck = Promise.withResolvers<never>();
    const began = Promise.withResolvers<void>();
    await using echo = await startEcho({
      async *count() {
        began.resolve();
        await stuck.promise;
        yield {};
      },
    });
    const stop = new AbortController();
    const reading = echo.client.count({}, { signal: stop.signal })[Symbol.asyncIterator]().next();
    await began.promise;
    stop.abort();
    await expect(reading).rejects.toThrow(Cancelled);
  });

  test('a slow reader holds the writer back', async () => {
    let written = 0;
    const big = 'x'.repeat(64 * 1024);
    const all = 2000;
    await using echo = await startEcho({
      async *count() {
        for (; written < all; written += 1) yield { reason: big };
      },
    });
    let read = 0;
    let ahead = 0;
    for await (const _ of echo.client.count({})) {
      read += 1;
      if (read === 1) await new Promise((resolve) => setTimeout(resolve, 300));
      if (read === 1) ahead = written;
      if (read === 50) break;
    }
    // 128 MB in all: what fits into the buffers on the way is a small part of it.
    expect(ahead).toBeLessThan(all / 4);
  });

  test('a slow server holds the sender back', async () => {
    let sent = 0;
    const resume = Promise.withResolvers<void>();
    await using echo = await startEcho({
      async gather(requests) {
        await resume.promise;
        let count = 0;
        for await (const _ of requests) count += 1;
        return { reason: String(count) };
      },
    });
    const big = 'x'.repeat(64 * 1024);
    const source = async function* () {
      for (; sent < 1000; sent += 1) yield { reason: big };
    };
    const answer = echo.client.gather(source());
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(sent).toBeLessThan(500);
    resume.resolve();
    expect((await answer).reason).toBe('1000');
  });

  test('an error in the middle comes after what was sent before it', async () => {
    await using echo = await startEcho({
      async *count() {
        yield { reason: '1' };
        yield { reason: '2' };
        throw new Denied('PERMISSION_DENIED', 'no more');
      },
    });
    const read: string[] = [];
    const reading = (async () => {
      for await (const { reason } of echo.client.count({})) read.push(reason);
    })();
    await expect(reading).rejects.toMatchObject({ reason: 'PERMISSION_DENIED', message: 'no more' });
    expect(read).toEqual(['1', '2']);
  });

  test('what the requests throw is what the caller gets, and the handler is cancelled', async () => {
    const aborted = Promise.withResolvers<unknown>();
    await using echo = await startEcho({
      async *chat(requests, call) {
        call.signal.addEventListener('abort', () => aborted.resolve(call.signal.reason));
        for await (const request of requests) yield request;
      },
    });
    const heard = Promise.withResolvers<void>();
    const source = async function* () {
      yield { reason: 'one' };
      await heard.promise;
      throw new Error('the source is broken');
    };
    const reading = (async () => {
      for await (const _ of echo.client.chat(source())) heard.resolve();
    })();
    await expect(reading).rejects.toThrow('the source is broken');
    expect(await aborted.promise).toBeInstanceOf(Cancelled);
  });

  test('a handler that stops reading can still answer; the source is told to stop', async () => {
    const returned = Promise.withResolvers<void>();
    await using echo = await startEcho({
      async *chat(requests) {
        for await (const request of requests) {
          yield request;
          break;
        }
        yield { reason: 'last words' };
      },
    });
    const source = async function* () {
      try {
        for (;;) {
          yield { reason: 'again' };
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        returned.resolve();
      }
    };
    const read = await collect(echo.client.chat(source()));
    expect(read.map(({ reason }) => reason)).toEqual(['again', 'last words']);
    await returned.promise;
  });
});
