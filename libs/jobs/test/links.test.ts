/** An executor's streams to instances of job control that the directory lists, forgets and lists again: one each. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { type ExecutorOrder, ExecutorServiceDefinition } from '@nephos/proto/nephos/jobs/v1/executor';
import { defineService, formatAddress, newUid, startService, systemClock } from '@nephos/service';
import { startExecutor } from '../src/index.ts';

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 4000; tries += 1) {
    if (holds()) return;
    await systemClock.sleep(5);
  }
  throw new Error(`never came about: ${what}`);
}

/** What the directory lists, one after the other, as the test says. */
class Lists {
  readonly #given: PromiseWithResolvers<readonly string[]>[] = [Promise.withResolvers()];
  #taken = 0;

  /** Resolves once it was acted upon. */
  async tell(addresses: readonly string[]): Promise<void> {
    const count = this.#given.push(Promise.withResolvers()) - 1;
    this.#given[count - 1]?.resolve(addresses);
    await until('the list was taken', () => this.#taken === count);
  }

  async *watch() {
    for (let at = 0; ; at += 1) {
      const addresses = (await this.#given[at]?.promise) ?? [];
      yield addresses.map((address) => ({ address }));
      this.#taken = at + 1;
    }
  }
}

test('an instance that was forgotten and listed again while a stream was opening gets one stream, not two in turn', async () => {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(path.join(tmpdir(), 'nephos-links-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const env = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0s', NEPHOS_DATA: folder };
  let streams = 0;
  const first = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  const welcome: ExecutorOrder = {
    order: { $case: 'welcome', value: { instance: newUid(), heartbeatInterval: 60_000n, partitions: [] } },
  };
  const jobControl = defineService({
    name: 'job-control',
    version: '0.1.0',
    config: {},
    start: (ctx) => {
      ctx.server.add(ExecutorServiceDefinition, {
        async *connect() {
          streams += 1;
          // The first is never welcomed; it ends when the test says so.
          if (streams === 1) return await first.promise;
          yield { orders: [welcome] };
          await over.promise;
        },
      });
      return Promise.resolve();
    },
  });
  const address = formatAddress(stack.use(await startService(jobControl, { env })).address);
  const lists = new Lists();
  const worker = defineService({
    name: 'worker',
    version: '0.1.0',
    config: {},
    start: (ctx) => {
      startExecutor(ctx, { jobs: [], deps: {}, jobControl: lists });
      return Promise.resolve();
    },
  });
  stack.use(await startService(worker, { env }));
  stack.defer(() => over.resolve());

  await lists.tell([address]);
  await until('the first stream is open', () => streams === 1);
  await lists.tell([]);
  await lists.tell([address]);
  await until('the second stream is open', () => streams === 2);
  first.resolve();
  // The end of the first must not make anybody forget the second.
  for (let round = 0; round < 20; round += 1) {
    await lists.tell([address]);
    await systemClock.sleep(20);
  }
  expect(streams).toBe(2);
});
