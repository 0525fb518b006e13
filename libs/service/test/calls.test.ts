import { describe, expect, test } from '@jest/globals';
import {
  type Around,
  type Call,
  Cancelled,
  currentCall,
  DeadlineExceeded,
  Denied,
  isUid,
  NephosError,
  runAs,
  type ServiceContext,
  Unavailable,
} from '../src/index.ts';
import { collect, type Echo, EchoDefinition, startEcho } from './echo.ts';

/** Two services: `front`, whose handler calls `back`. Returns what `back` saw. */
async function startTwoHops(front: (ask: (reason: string) => Promise<unknown>, call: Call) => Promise<void>) {
  const seen: { requestId: string; principal: string; onBehalfOf: string | undefined; leftMs: number }[] = [];
  const back = await startEcho({
    say: async (request, call) => {
      const leftMs = (call.deadline?.getTime() ?? Infinity) - Date.now();
      seen.push({
        requestId: call.requestId,
        principal: call.principal,
        onBehalfOf: call.onBehalfOf,
        leftMs,
      });
      return request;
    },
  });
  let context: ServiceContext | undefined;
  const echo = await startEcho(
    {
      say: async (request, call) => {
        const client = context?.clients.of(EchoDefinition, back.target);
        await front(async (reason) => client?.say({ reason }), call);
        return request;
      },
    },
    (given) => {
      context = given;
    },
  );
  return {
    seen,
    client: echo.client,
    async [Symbol.asyncDispose]() {
      await echo[Symbol.asyncDispose]();
      await back[Symbol.asyncDispose]();
    },
  };
}

describe('what a call hands on', () => {
  test('what is left of the deadline, the request id and the principals go over two hops', async () => {
    await using hops = await startTwoHops(async (ask) => {
      await ask('inner');
    });
    await hops.client.say(
      { reason: 'outer' },
      { deadlineMs: 5000, requestId: 'req-1', principal: 'users/ann', onBehalfOf: 'accounts/7' },
    );
    expect(hops.seen).toHaveLength(1);
    expect(hops.seen[0]).toMatchObject({
      requestId: 'req-1',
      principal: 'users/ann',
      onBehalfOf: 'accounts/7',
    });
    expect(hops.seen[0]?.leftMs).toBeLessThanOrEqual(5000);
    expect(hops.seen[0]?.leftMs).toBeGreaterThan(0);
  });

  test('a call without a deadline gets 30 s and the name of the service that calls', async () => {
    await using hops = await startTwoHops(async (ask, call) => {
      call.detach();
      await ask('inner');
    });
    await hops.client.say({ reason: 'outer' }, { deadlineMs: 2000 });
    // Detached from a caller with 2 s, the inner call has its own 30 s.
    expect(hops.seen[0]?.leftMs).toBeGreaterThan(15_000);
    expect(hops.seen[0]?.principal).toBe('services/caller');
    expect(isUid(hops.seen[0]?.requestId ?? '')).toBe(true);
  });

  test('work that is no call hands on whose it is, and its request id may be set anew for each call', async () => {
    const seen: (readonly [string, string])[] = [];
    await using echo = await startEcho({
      say: async (request, call) => {
        seen.push([call.requestId, call.principal]);
        return request;
      },
    });
    await runAs({ requestId: 'job-1', principal: 'users/bob' }, async () => {
      await echo.client.say({});
      await echo.client.say({}, { requestId: 'job-1/2' });
    });
    expect(seen).toEqual([
      ['job-1', 'users/bob'],
      ['job-1/2', 'users/bob'],
    ]);
  });

  test('a missing request id is minted once and kept in all attempts; only UNAVAILABLE is tried again', async () => {
    const ids: string[] = [];
    let failures = 2;
    await using echo = await startEcho({
      say: async (request, call) => {
        ids.push(call.requestId);
        if (request.reason === 'denied') throw new Denied('PERMISSION_DENIED', 'no');
        failures -= 1;
        if (failures >= 0) throw new Unavailable('SERVICE_UNAVAILABLE', 'not yet');
        return request;
      },
    });
    await echo.client.say({ reason: 'again' });
    expect(ids).toHaveLength(3);
    expect(new Set(ids).size).toBe(1);
    expect(isUid(ids[0] ?? '')).toBe(true);
    ids.length = 0;
    await expect(echo.client.say({ reason: 'denied' })).rejects.toThrow(Denied);
    expect(ids).toHaveLength(1);
  });

  test('tries end with the error, within the deadline', async () => {
    let calls = 0;
    await using echo = await startEcho({
      say: async () => {
        calls += 1;
        throw new Unavailable('SERVICE_UNAVAILABLE', 'never');
      },
    });
    await expect(echo.client.say({}, { deadlineMs: 10_000 })).rejects.toMatchObject({
      reason: 'SERVICE_UNAVAILABLE',
    });
    expect(calls).toBe(5);
  });

  test('an address where nobody listens is SERVICE_UNAVAILABLE', async () => {
    await using echo = await startEcho();
    const { target } = await (async () => {
      await using gone = await startEcho();
      return { target: gone.target };
    })();
    const client = echo.caller.context.clients.of(EchoDefinition, target);
    await expect(client.say({})).rejects.toMatchObject({ reason: 'SERVICE_UNAVAILABLE' });
  });

  test('currentCall is the call being served, and nothing outside of one', async () => {
    const seen: boolean[] = [];
    await using echo = await startEcho({
      say: async (request, call) => {
        await new Promise((resolve) => setImmediate(resolve));
        seen.push(currentCall() === call);
        return request;
      },
    });
    expect(currentCall()).toBeUndefined();
    await echo.client.say({});
    expect(seen).toEqual([true]);
  });
});

describe('cancellation', () => {
  /** A handler that says when it began and why it was aborted. */
  function waiting(detach: boolean) {
    const began = Promise.withResolvers<void>();
    const aborted = Promise.withResolvers<unknown>();
    const finish = Promise.withResolvers<void>();
    const say: Echo['say'] = async (request, call) => {
      if (detach) call.detach();
      call.signal.addEventListener('abort', () => aborted.resolve(call.signal.reason));
      began.resolve();
      await Promise.race([finish.promise, aborted.promise]);
      call.signal.throwIfAborted();
      return request;
    };
    return { say, began: began.promise, aborted: aborted.promise, finish: finish.resolve };
  }

  test('the caller’s signal reaches the handler', async () => {
    const { say, began, aborted } = waiting(false);
    await using echo = await startEcho({ say });
    const stop = new AbortController();
    const answer = echo.client.say({}, { signal: stop.signal });
    await began;
    stop.abort();
    await expect(answer).rejects.toThrow(Cancelled);
    expect(await aborted).toMatchObject({ reason: 'CALL_CANCELLED' });
  });

  test('a deadline that passes reaches the handler, and the caller is told so', async () => {
    const { say, aborted } = waiting(false);
    await using echo = await startEcho({ say });
    await expect(echo.client.say({}, { deadlineMs: 100 })).rejects.toThrow(DeadlineExceeded);
    const reason = await aborted;
    expect(reason).toBeInstanceOf(NephosError);
    expect(['DEADLINE_EXCEEDED', 'CALL_CANCELLED']).toContain((reason as NephosError).reason);
  });

  test('a detached handler is not aborted by its caller', async () => {
    const { say, began, finish } = waiting(true);
    const signals: AbortSignal[] = [];
    const ended = Promise.withResolvers<void>();
    await using echo = await startEcho({
      say: async (request, call) => {
        signals.push(call.signal);
        const answer = await say(request, call);
        ended.resolve();
        return answer;
      },
    });
    const stop = new AbortController();
    const answer = echo.client.say({}, { signal: stop.signal });
    await began;
    stop.abort();
    await expect(answer).rejects.toThrow(Cancelled);
    // A further call on the same connection has been through: the cancellation has arrived.
    for await (const _ of echo.client.count({ reason: '1' })) expect(signals[0]?.aborted).toBe(false);
    finish();
    await ended.promise;
    expect(signals[0]?.aborted).toBe(false);
  });

  test('a cancelled call takes the calls made from it along', async () => {
    const inner = waiting(false);
    await using back = await startEcho({ say: inner.say });
    let context: ServiceContext | undefined;
    await using front = await startEcho(
      {
        say: async (request) => {
          await context?.clients.of(EchoDefinition, back.target).say({});
          return request;
        },
      },
      (given) => {
        context = given;
      },
    );
    const stop = new AbortController();
    const answer = front.client.say({}, { signal: stop.signal });
    await inner.began;
    stop.abort();
    await expect(answer).rejects.toThrow(Cancelled);
    expect(await inner.aborted).toMatchObject({ reason: 'CALL_CANCELLED' });
  });

  test('a signal that is aborted already never calls', async () => {
    await using echo = await startEcho({
      say: async () => {
        throw new Error('must not be called');
      },
    });
    await expect(echo.client.say({}, { signal: AbortSignal.abort() })).rejects.toThrow(Cancelled);
  });
});

describe('interceptors', () => {
  test('run around every kind of call, the first added outermost, and may refuse', async () => {
    const seen: string[] = [];
    const named =
      (name: string): Around =>
      async (invocation, next) => {
        seen.push(`${name} before ${invocation.name.split('/').at(-1)}`);
        if (invocation.principal === 'users/mallory') throw new Denied('PERMISSION_DENIED', 'not you');
        const result = await next();
        seen.push(`${name} after`);
        return result;
      };
    await using echo = await startEcho({}, ({ server }) => {
      server.around(named('outer'));
      server.around(named('inner'));
    });
    await echo.client.say({});
    expect(seen.splice(0)).toEqual(['outer before Say', 'inner before Say', 'inner after', 'outer after']);
    await collect(echo.client.count({ reason: '2' }));
    expect(seen.splice(0)).toEqual([
      'outer before Count',
      'inner before Count',
      'inner after',
      'outer after',
    ]);
    await expect(echo.client.say({}, { principal: 'users/mallory' })).rejects.toThrow(Denied);
  });
});
