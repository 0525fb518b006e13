/** Calls to real servers by a list on disk: zones, weights, and an instance that answers with errors. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { OperationsDefinition } from '@nephos/proto/google/longrunning/operations';
import { Instance } from '@nephos/proto/nephos/directory/v1/instance';
import {
  type Clock,
  defineService,
  formatAddress,
  Internal,
  NotFound,
  newUid,
  type RunningService,
  startService,
  systemClock,
} from '@nephos/service';
import { joinDirectory } from '../src/index.ts';

const quiet = { NEPHOS_LOG_LEVEL: 'silent', NEPHOS_DRAIN_DELAY: '0ms' };

interface Backend {
  readonly running: RunningService;
  /** What it answers with. */
  mood: 'well' | 'faulty' | 'refusing';
  calls: number;
}

async function backend(): Promise<Backend> {
  const refuse = () => Promise.reject(new Error('not part of this test'));
  const state: { mood: Backend['mood']; calls: number } = { mood: 'well', calls: 0 };
  const definition = defineService({
    name: 'backend',
    version: '1',
    config: {},
    async start(ctx) {
      ctx.server.add(OperationsDefinition, {
        getOperation: async () => {
          state.calls += 1;
          if (state.mood === 'faulty') throw new Internal('INTERNAL', 'told to be faulty');
          if (state.mood === 'refusing') throw new NotFound('RESOURCE_NOT_FOUND', 'told to have nothing');
          return { name: 'well' };
        },
        listOperations: refuse,
        deleteOperation: refuse,
        cancelOperation: refuse,
        waitOperation: refuse,
      });
    },
  });
  return Object.assign(state, { running: await startService(definition, { env: quiet }) });
}

interface Place {
  readonly zone?: string;
  readonly weight?: number;
}

/** Backends listed on disk, and a caller that knows no more. */
class World implements AsyncDisposable {
  readonly #opened = new AsyncDisposableStack();
  readonly backends: Backend[] = [];
  caller: RunningService | undefined;
  #nowMs = 0;

  static async open(places: readonly Place[], zone = ''): Promise<World> {
    const world = new World();
    const data = await mkdtemp(path.join(tmpdir(), 'nephos-balancing-'));
    world.#opened.defer(() => rm(data, { recursive: true }));
    const list: unknown[] = [];
    for (const place of places) {
      const made = await backend();
      world.#opened.use(made.running);
      world.backends.push(made);
      const header = { uid: newUid(), zone: place.zone ?? '' };
      const address = formatAddress(made.running.address);
      list.push(
        Instance.toJSON(Instance.fromPartial({ header, address, weight: place.weight ?? 0, health: 1 })),
      );
    }
    await mkdir(path.join(data, 'directory'), { recursive: true });
    await writeFile(path.join(data, 'directory', 'backend.json'), JSON.stringify(list));
    const definition = defineService({
      name: 'caller',
      version: '1',
      config: {},
      async start(ctx) {
        await joinDirectory(ctx);
      },
    });
    const clock: Clock = {
      now: () => systemClock.now(),
      // Stands still but for `pass`: no test depends on how long its calls take.
      monotonic: () => world.#nowMs,
      sleep: (ms, signal) => systemClock.sleep(ms, signal),
      timer: (ms, fire) => systemClock.timer(ms, fire),
      every: (ms, fire) => systemClock.every(ms, fire),
    };
    const env = { ...quiet, NEPHOS_DATA: data, NEPHOS_DIRECTORY: '127.0.0.1:9', NEPHOS_ZONE: zone };
    world.caller = world.#opened.use(await startService(definition, { env, clock }));
    await world.connected(places.flatMap((place, at) => (zone === '' || place.zone === zone ? [at] : [])));
    return world;
  }

  /** Moves the caller's monotonic clock on. */
  pass(ms: number): void {
    this.#nowMs += ms;
  }

  /** How many of these calls failed. */
  async call(times: number): Promise<number> {
    const client = this.caller?.context.clients.of(OperationsDefinition, 'backend');
    let failures = 0;
    for (let call = 0; call < times; call += 1)
      await client?.getOperation({ name: 'operations/x' }).catch(() => (failures += 1));
    return failures;
  }

  counts(): number[] {
    return this.backends.map(({ calls }) => calls);
  }

  /** Once each backend that can be chosen was called, all connections to them stand. */
  async connected(chosen: readonly number[]): Promise<void> {
    while (chosen.some((at) => this.backends[at]?.calls === 0)) await this.call(1);
    for (const each of this.backends) each.calls = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }
}

test('weights share the calls out', async () => {
  await using world = await World.open([{ weight: 300 }, { weight: 100 }]);
  expect(await world.call(1000)).toBe(0);
  const [heavy = 0, light = 0] = world.counts();
  expect(heavy + light).toBe(1000);
  expect(light).toBeGreaterThan(180);
  expect(light).toBeLessThan(320);
});

test('the own zone is called while it can be, and the others when it is gone', async () => {
  const places = [{ zone: 'zones/east' }, { zone: 'zones/east' }, { zone: 'zones/west' }];
  await using world = await World.open(places, 'zones/east');
  expect(await world.call(300)).toBe(0);
  const [one = 0, two = 0, west = 0] = world.counts();
  expect(west).toBe(0);
  expect(Math.min(one, two)).toBeGreaterThan(100);

  await world.backends[0]?.running.stop({ graceMs: 0 });
  await world.call(300);
  expect(world.backends[2]?.calls).toBeGreaterThan(40);
  await world.backends[1]?.running.stop({ graceMs: 0 });
  const before = world.backends[2]?.calls ?? 0;
  expect(await world.call(50)).toBe(0);
  expect(world.backends[2]?.calls).toBe(before + 50);
});

test('an instance that answers with faults is left out, tried again, and comes back', async () => {
  await using world = await World.open([{}, {}]);
  const [bad, good] = world.backends;
  if (bad === undefined || good === undefined) throw new Error('two were asked for');
  bad.mood = 'faulty';
  expect(await world.call(200)).toBe(5);
  expect(world.counts()).toEqual([5, expect.any(Number)]);

  world.pass(2001);
  expect(await world.call(100)).toBe(1);
  expect(bad.calls).toBe(6);

  bad.mood = 'well';
  world.pass(2001);
  await world.call(50);
  expect(bad.calls).toBe(6);
  world.pass(2001);
  expect(await world.call(200)).toBe(0);
  expect(bad.calls).toBeGreaterThan(50);
});

test('refusals are answers: who refuses rightly is not left out', async () => {
  await using world = await World.open([{}, {}]);
  const [one, other] = world.backends;
  if (one === undefined || other === undefined) throw new Error('two were asked for');
  one.mood = 'refusing';
  await world.call(200);
  expect(one.calls).toBeGreaterThan(50);
});

test('the only instance is called whatever it answers, and calls are counted', async () => {
  await using world = await World.open([{}]);
  const [only] = world.backends;
  if (only === undefined) throw new Error('one was asked for');
  only.mood = 'faulty';
  expect(await world.call(30)).toBe(30);
  only.mood = 'refusing';
  await world.call(10);
  only.mood = 'well';
  expect(await world.call(5)).toBe(0);
  const counted = world.caller?.context.callees().find(({ service }) => service === 'backend');
  expect(counted).toEqual({ service: 'backend', calls: 46, failures: 30, since: expect.any(Date) });
});
