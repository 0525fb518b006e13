/** What a watch says: the list once and then what changed, or lists for those who know no changes. */
import { describe, expect, test } from '@jest/globals';
import { Health, Instance } from '@nephos/directory';
import { startNatsServer } from '@nephos/events/testing';
import type {
  WatchInstancesRequest,
  WatchInstancesResponse,
} from '@nephos/proto/nephos/directory/v1/directory_service';
import { InstanceSelector } from '@nephos/proto/nephos/directory/v1/instance';
import { type Clock, type DeepPartial, newUid, type RunningService, systemClock } from '@nephos/service';
import type { Listed } from '../src/domain/entry.ts';
import { factsOf } from '../src/domain/message.ts';
import { WatchedList } from '../src/watched-list.ts';
import { clientOf, type Joined, Stack } from './stack.ts';

type Update = Exclude<NonNullable<WatchInstancesResponse['update']>, { readonly $case: 'heartbeat' }>;

async function world(stack: Stack) {
  const nats = stack.use(await startNatsServer());
  const directory = await stack.directory(nats.url);
  const caller = await stack.service('caller');
  const client = clientOf(caller, directory);
  let beat = 0n;
  const register = async (
    uid: string,
    zone = '',
    labels: Record<string, string> = {},
    service = 'watched',
  ) => {
    beat += 1n;
    const leaseTtl = { seconds: 60n, nanos: 0 };
    const header = { uid, zone, labels };
    const instance = { header, service, address: '127.0.0.1:9', health: Health.SERVING, leaseTtl };
    await client.registerInstance({ instance, beat });
  };
  return { directory, caller, client, register };
}

/** Updates of a watch, heartbeats left out. */
function watch(caller: Joined, directory: RunningService, request: DeepPartial<WatchInstancesRequest>) {
  const stop = new AbortController();
  const stream = clientOf(caller, directory)
    .watchInstances(request, { signal: stop.signal })
    [Symbol.asyncIterator]();
  return {
    async next(): Promise<Update> {
      for (;;) {
        const { value, done } = await stream.next();
        if (done === true) throw new Error('the watch ended');
        if (value.update !== undefined && value.update.$case !== 'heartbeat') return value.update;
      }
    },
    async settled(): Promise<Update> {
      for (;;) {
        const update = await this.next();
        if (update.$case !== 'drain' && update.value.settled) return update;
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await stream.return?.(undefined);
    },
  };
}

const selector = { service: 'watched' };

/** Timers fire when told to. */
function heldClock() {
  let due: (() => void)[] = [];
  const timer = (_ms: number, fire: () => void) => {
    due.push(fire);
    return { [Symbol.dispose]: () => undefined };
  };
  const clock: Clock = {
    now: () => systemClock.now(),
    monotonic: () => systemClock.monotonic(),
    sleep: (ms, signal) => systemClock.sleep(ms, signal),
    every: () => ({ [Symbol.dispose]: () => undefined }),
    timer,
  };
  const tick = () => {
    const fired = due;
    due = [];
    for (const fire of fired) fire();
  };
  return { clock, tick };
}

function listedOf(uid: string): Listed {
  const at = '2026-01-01T00:00:00.000Z';
  const instance = {
    header: { uid },
    service: 'watched',
    address: '127.0.0.1:9',
    health: Health.SERVING,
  };
  const { facts } = factsOf(Instance.fromPartial(instance), at);
  const state = { uid, facts, eventSeq: 1, createTime: at, updateTime: at, registerTime: at };
  return { state, load: 0, callees: [], silent: false, version: 1 };
}

describe('a watch', () => {
  test('of changes tells the list, then who came, who changed and who went, each with the next version', async () => {
    await using stack = new Stack();
    const { directory, caller, client, register } = await world(stack);
    const [one, two] = [newUid(), newUid()].sort();
    await register(one as string);
    await using stream = watch(caller, directory, { selector, changes: true });
    const list = await stream.settled();
    expect(list.value).toMatchObject(
      list.$case === 'list' ? { instances: [{ header: { uid: one } }] } : { added: [], removed: [] },
    );
    const { version } = list.value as { readonly version: bigint };
    await register(two as string);
    expect(await stream.next()).toMatchObject({
      $case: 'changes',
      value: { version: version + 1n, added: [{ header: { uid: two } }], changed: [], removed: [] },
    });
    await register(one as string, '', { tier: 'a' });
    expect(await stream.next()).toMatchObject({
      $case: 'changes',
      value: { version: version + 2n, added: [], changed: [{ header: { labels: { tier: 'a' } } }] },
    });
    await client.deregisterInstance({ name: `instances/${one}` });
    expect(await stream.next()).toMatchObject({
      $case: 'changes',
      value: { version: version + 3n, added: [], changed: [], removed: [`instances/${one}`] },
    });
    await directory.stop();
    expect((await stream.next()).$case).toBe('drain');
  });

  test('of an older client gets the whole list each time', async () => {
    await using stack = new Stack();
    const { directory, caller, register } = await world(stack);
    await using stream = watch(caller, directory, { selector });
    const counts: number[] = [];
    const uids = Array.from({ length: 3 }, newUid);
    await stream.settled();
    for (const uid of uids) {
      await register(uid);
      const update = await stream.next();
      counts.push(update.$case === 'list' ? update.value.instances.length : -1);
    }
    expect(counts).toEqual([1, 2, 3]);
  });

  test('selects by version, zone and labels, and tells of those who come to match or do no more', async () => {
    await using stack = new Stack();
    const { directory, caller, register } = await world(stack);
    const uid = newUid();
    const east = { service: 'watched', zone: 'zones/east', labels: { tier: 'a' } };
    await using stream = watch(caller, directory, { selector: east, changes: true });
    await stream.settled();
    await register(newUid(), 'zones/west', { tier: 'a' });
    await register(uid, 'zones/east', { tier: 'b' });
    await register(uid, 'zones/east', { tier: 'a', more: 'x' });
    expect(await stream.next()).toMatchObject({ value: { added: [{ header: { uid } }] } });
    await register(uid, 'zones/east', { tier: 'c' });
    expect(await stream.next()).toMatchObject({ value: { removed: [`instances/${uid}`] } });
  });

  test('of many watchers all see all changes, each in order', async () => {
    await using stack = new Stack();
    const { directory, caller, register } = await world(stack);
    const uids = Array.from({ length: 40 }, newUid);
    const watchers = Array.from({ length: 50 }, async () => {
      await using stream = watch(caller, directory, { selector, changes: true });
      const seen = new Set<string>();
      let last: bigint | undefined;
      while (seen.size < uids.length) {
        const update = await stream.next();
        if (update.$case === 'drain') break;
        const { value } = update;
        if (update.$case === 'changes') expect(value.version).toBe((last ?? 0n) + 1n);
        last = value.version;
        const told = 'instances' in value ? value.instances : value.added;
        for (const { header } of told) seen.add(header?.uid ?? '');
      }
      return seen.size;
    });
    for (const uid of uids) await register(uid);
    expect(await Promise.all(watchers)).toEqual(watchers.map(() => uids.length));
  });

  test('tells a change at once, and as one those that follow while it gathers', async () => {
    const { clock, tick } = heldClock();
    const changed: ((service: string) => void)[] = [];
    let instances: Listed[] = [];
    const registry = {
      settled: true,
      list: () => instances,
      onChange: (listener: (service: string) => void) => {
        changed.push(listener);
        return { [Symbol.dispose]: () => undefined };
      },
    };
    using list = new WatchedList(registry, clock, InstanceSelector.fromPartial(selector), false);
    const change = () => {
      instances = [...instances, listedOf(newUid())];
      for (const tell of changed) tell('watched');
    };
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    const { version } = list;
    change();
    change();
    expect(list.version).toBe(version);
    await turn();
    // No time has passed: what changed together is one change.
    expect(list.version).toBe(version + 1);
    change();
    await turn();
    change();
    await turn();
    expect(list.version).toBe(version + 1);
    tick();
    expect(list.version).toBe(version + 2);
    tick();
    change();
    await turn();
    expect(list.version).toBe(version + 3);
  });

  test('of a selector of any size is refused', async () => {
    await using stack = new Stack();
    const { directory, caller } = await world(stack);
    const first = async (asked: DeepPartial<WatchInstancesRequest>['selector']) => {
      await using stream = watch(caller, directory, { selector: asked ?? {} });
      return await stream.next();
    };
    const word = 'a'.repeat(1000);
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, count) => [`l${count}`, 'x']));
    for (const asked of [{ service: word }, { version: word }, { zone: word }, { labels: many }])
      await expect(first(asked)).rejects.toMatchObject({ kind: 'invalid' });
  });
});
