/** The small parts: ids, retries, failpoints, and targets that a resolver answers late. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { experimental, status } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { disableFailpoints, enableFailpoints } from '../src/failpoint.ts';
import {
  callTarget,
  DeadlineExceeded,
  Denied,
  failpoint,
  isUid,
  newUid,
  retry,
  systemClock,
  Unavailable,
} from '../src/index.ts';
import { EchoDefinition, startEcho } from './echo.ts';

describe('ids', () => {
  test('are UUIDv7, unique and in the order they were minted', () => {
    const before = Date.now();
    const ids = Array.from({ length: 10_000 }, newUid);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.toSorted()).toEqual(ids);
    for (const id of ids) expect(isUid(id)).toBe(true);
    const minted = Number.parseInt((ids[0] ?? '').replaceAll('-', '').slice(0, 12), 16);
    expect(minted).toBeGreaterThanOrEqual(before);
    expect(minted).toBeLessThanOrEqual(Date.now());
    expect(isUid('c0a8012e-0000-4000-8000-000000000000')).toBe(false);
  });
});

describe('retry', () => {
  const backoff = { firstMs: 1, maxMs: 4 };

  test('tries Unavailable again until it succeeds, and nothing else', async () => {
    let runs = 0;
    const flaky = async (attempt: number): Promise<number> => {
      runs += 1;
      if (attempt < 3) throw new Unavailable('SERVICE_UNAVAILABLE', 'not yet');
      return attempt;
    };
    expect(await retry(flaky, { attempts: 5, backoff })).toBe(3);
    expect(runs).toBe(3);
    const refused = retry(() => Promise.reject(new Denied('PERMISSION_DENIED', 'no')), {
      attempts: 5,
      backoff,
    });
    await expect(refused).rejects.toThrow(Denied);
  });

  test('gives up after the attempts with the last error, and at once when aborted', async () => {
    const pauses: number[] = [];
    const failing = () => Promise.reject(new Unavailable('SERVICE_UNAVAILABLE', 'never'));
    const onRetry = (_: unknown, __: number, pauseMs: number) => void pauses.push(pauseMs);
    await expect(retry(failing, { attempts: 4, backoff, onRetry })).rejects.toThrow('never');
    expect(pauses).toHaveLength(3);
    for (const [i, pause] of pauses.entries()) {
      expect(pause).toBeGreaterThanOrEqual(2 ** i / 2);
      expect(pause).toBeLessThanOrEqual(2 ** i);
    }
    const stop = new AbortController();
    const endless = retry(failing, {
      attempts: Infinity,
      backoff: { firstMs: 60_000, maxMs: 60_000 },
      signal: stop.signal,
      onRetry: () => queueMicrotask(() => stop.abort(new Error('enough'))),
    });
    await expect(endless).rejects.toThrow('enough');
  });
});

describe('the clock', () => {
  test('a disposed timer never fires, an aborted sleep rejects with the reason', async () => {
    let fired = false;
    const timer = systemClock.timer(1, () => {
      fired = true;
    });
    timer[Symbol.dispose]();
    const stop = new AbortController();
    const sleeping = systemClock.sleep(60_000, stop.signal);
    stop.abort(new Error('woken'));
    await expect(sleeping).rejects.toThrow('woken');
    await systemClock.sleep(5);
    expect(fired).toBe(false);
  });
});

describe('failpoints', () => {
  test('cost nothing unless a test controls them, and then do what it says', async () => {
    await failpoint('any');
    const folder = await mkdtemp(path.join(tmpdir(), 'nephos-failpoint-'));
    const asked: unknown[] = [];
    const actions = ['go', 'error'];
    const server = createServer((socket) => {
      socket.on('error', () => {});
      createInterface({ input: socket }).on('line', (line) => {
        const question = JSON.parse(line) as { id: number };
        asked.push(question);
        const action = actions.shift();
        if (action === undefined) socket.destroy();
        else socket.write(`${JSON.stringify({ id: question.id, action })}\n`);
      });
    });
    const socketPath = path.join(folder, 's');
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    try {
      enableFailpoints(socketPath, 'tester');
      await failpoint('job.step.before', { job: 'vm.create', step: 'place' });
      await expect(failpoint('job.step.after')).rejects.toThrow('failpoint job.step.after');
      // Control that is lost means go.
      await failpoint('third');
      await failpoint('fourth');
      expect(asked).toEqual([
        {
          id: 1,
          point: 'job.step.before',
          facts: { job: 'vm.create', step: 'place' },
          service: 'tester',
          pid: process.pid,
        },
        { id: 2, point: 'job.step.after', facts: {}, service: 'tester', pid: process.pid },
        { id: 3, point: 'third', facts: {}, service: 'tester', pid: process.pid },
      ]);
    } finally {
      disableFailpoints();
      server.close();
      await rm(folder, { recursive: true });
    }
  });
});

describe('targets', () => {
  test('a service’s name becomes a target of the directory; addresses stay', () => {
    expect(callTarget('orchestrator')).toBe('nephos:///orchestrator');
    expect(callTarget('host-agent', { zone: 'z 1', agent: 'a&b' })).toBe(
      'nephos:///host-agent?label.agent=a%26b&label.zone=z+1',
    );
    expect(callTarget('127.0.0.1:80')).toBe('127.0.0.1:80');
    expect(callTarget('ipv4:1.2.3.4:5')).toBe('ipv4:1.2.3.4:5');
  });

  test('a call made while names are still being learnt waits within its deadline, then goes through', async () => {
    await using echo = await startEcho();
    const asked: string[] = [];
    const learnt = Promise.withResolvers<void>();
    class LateResolver implements experimental.Resolver {
      readonly #listener: experimental.ResolverListener;

      constructor(target: { path: string }, listener: experimental.ResolverListener) {
        this.#listener = listener;
        asked.push(target.path);
      }

      updateResolution(): void {
        void Promise.resolve().then(async () => {
          const nothing = { code: status.UNAVAILABLE, details: 'nobody is known yet' };
          this.#listener(experimental.statusOrFromError(nothing), {}, null, '');
          await learnt.promise;
          const addresses = [{ addresses: [echo.service.address] }];
          this.#listener(experimental.statusOrFromValue(addresses), {}, null, '');
        });
      }

      destroy(): void {}

      static getDefaultAuthority(): string {
        return 'late';
      }
    }
    experimental.registerResolver('nephos', LateResolver);
    const client = echo.caller.context.clients.of(EchoDefinition, 'echo', { labels: { zone: 'z1' } });
    const answer = client.say({ reason: 'patient' });
    await expect(client.say({}, { deadlineMs: 50 })).rejects.toThrow(DeadlineExceeded);
    learnt.resolve();
    expect((await answer).reason).toBe('patient');
    expect(asked).toEqual(['echo?label.zone=z1']);
  });
});
