import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { streams } from '@nephos/events';
import { StartPoint } from '@nephos/proto/nephos/events/v1/event_service';
import { systemClock } from '@nephos/service';
import { type Events, Stack, upTo, Watcher } from './support/stack.ts';

let stack: Stack;
let events: Events;
let others: Events;

beforeAll(async () => {
  stack = await Stack.open();
  ({ events } = await stack.replica());
  ({ events: others } = await stack.replica());
});

afterAll(async () => stack[Symbol.asyncDispose]());

const earliest = { start: { $case: 'point', value: StartPoint.EARLIEST } } as const;
const snapshot = { start: { $case: 'point', value: StartPoint.SNAPSHOT } } as const;
const resume = (token: string) => ({ start: { $case: 'resumeToken', value: token } }) as const;
const ids = (uid: string, sequences: readonly number[], entity = 'zone') =>
  sequences.map((seq) => `${entity}/${uid}/${seq}`);

async function refusal(request: Parameters<Events['watch']>[0], on = events): Promise<unknown> {
  await using watcher = new Watcher(on, request);
  try {
    for (;;) {
      const said = await watcher.next();
      if (said === undefined) return undefined;
    }
  } catch (error) {
    return error;
  }
}

describe('where it begins', () => {
  test('from now on: a token at once, then what comes, as it is on the bus', async () => {
    const filter = { owner: 'now' };
    await stack.publish('n1', [1], { owner: 'now' });
    await using watcher = new Watcher(events, { filter });
    expect(await watcher.next()).toMatchObject({
      resumeToken: expect.stringMatching(/^[\w-]{20,256}$/),
      message: { $case: 'heartbeat', value: { caughtUp: true } },
    });
    await stack.publish('n1', [2, 3], { owner: 'now', zone: 'zones/z1' });
    const { message } = await watcher.until('change');
    if (message?.$case !== 'change') throw new Error('no change');
    expect(message.value).toMatchObject({
      id: 'zone/n1/2',
      type: 'dev.nephos.zone.v1.updated',
      source: '/nephos/test',
      subject: 'zones/n1',
      entity: 'zone',
      verb: 'updated',
      uid: 'n1',
      owner: 'now',
      zone: 'zones/z1',
      sequence: 2n,
      firstSequence: 2n,
    });
    const { jsm } = await stack.bus.ready();
    const stored = await jsm.direct.getMessage(streams.events, { last_by_subj: 'nephos.v1.now.z1.zone.n1' });
    expect(await watcher.events(2)).toEqual(ids('n1', [2, 3]));
    expect(JSON.parse(message.value.cloudEvent)).toMatchObject({ specversion: '1.0', sequence: '2' });
    expect(stored?.string().length).toBe(message.value.cloudEvent.length);
  });

  test('all that is kept, and at a time', async () => {
    await stack.publish('t1', [1, 2], { owner: 'time' });
    const between = systemClock.now();
    await systemClock.sleep(20);
    await stack.publish('t1', [3, 4], { owner: 'time' });
    await using all = new Watcher(events, { ...earliest, filter: { owner: 'time' } });
    expect(await all.events(4)).toEqual(ids('t1', [1, 2, 3, 4]));
    await using late = new Watcher(events, {
      filter: { owner: 'time' },
      start: { $case: 'time', value: between },
    });
    expect(await late.events(2)).toEqual(ids('t1', [3, 4]));
    await using future = new Watcher(events, {
      filter: { owner: 'time' },
      start: { $case: 'time', value: new Date('2100-01-01') },
    });
    await future.until('heartbeat');
    await stack.publish('t1', [5], { owner: 'time' });
    expect(await future.events(1)).toEqual(ids('t1', [5]));
  });

  test('only what the filter means', async () => {
    await stack.publish('f1', [1], { owner: 'fil.ter', zone: 'zones/a' });
    await stack.publish('f2', [1], { owner: 'fil.ter', zone: 'zones/b', entity: 'vm' });
    await stack.publish('f3', [1], { owner: 'fil.ter', entity: 'vm' });
    const seen = async (filter: object, count: number) => {
      await using watcher = new Watcher(events, { ...earliest, filter: { owner: 'fil.ter', ...filter } });
      await watcher.events(count);
      await watcher.until(
        'heartbeat',
        ({ message }) => message?.$case === 'heartbeat' && message.value.caughtUp,
      );
      return watcher.ids;
    };
    expect(await seen({}, 3)).toEqual(['zone/f1/1', 'vm/f2/1', 'vm/f3/1']);
    expect(await seen({ entity: 'vm' }, 2)).toEqual(['vm/f2/1', 'vm/f3/1']);
    expect(await seen({ zone: 'b' }, 1)).toEqual(['vm/f2/1']);
    expect(await seen({ zone: '' }, 1)).toEqual(['vm/f3/1']);
    expect(await seen({ uid: 'f1' }, 1)).toEqual(['zone/f1/1']);
  });

  test('jobs come only when asked for', async () => {
    await stack.publish('j1', [1], { owner: 'jobs', entity: 'job' });
    await stack.publish('j2', [1], { owner: 'jobs' });
    await using jobs = new Watcher(events, { ...earliest, filter: { owner: 'jobs', entity: 'job' } });
    expect(await jobs.events(1)).toEqual(['job/j1/1']);
    await using rest = new Watcher(events, { ...earliest, filter: { owner: 'jobs' } });
    expect(await rest.events(1)).toEqual(['zone/j2/1']);
    expect(await refusal({ ...snapshot, filter: { entity: 'job' } })).toMatchObject({ kind: 'invalid' });
  });

  test.each([
    { entity: '>' },
    { entity: '*' },
    { entity: 'VM' },
    { entity: 'vm.x' },
    { entity: '' },
    { uid: '' },
    { owner: 'x'.repeat(200) },
  ])('a filter that is none is refused: %j', async (filter) => {
    expect(await refusal({ filter })).toMatchObject({ kind: 'invalid', reason: 'FIELD_INVALID' });
  });

  test('wildcards in a filter are plain text', async () => {
    await stack.publish('w1', [1], { owner: 'wild' });
    for (const filter of [
      { owner: '*' },
      { owner: '>' },
      { owner: 'wild', uid: '*' },
      { owner: 'wild', zone: '>' },
    ]) {
      await using watcher = new Watcher(events, { ...earliest, filter });
      await watcher.until('heartbeat');
      await watcher.until(
        'heartbeat',
        ({ message }) => message?.$case === 'heartbeat' && message.value.caughtUp,
      );
      expect(watcher.ids).toEqual([]);
    }
  });
});

describe('a snapshot', () => {
  const filter = { owner: 'snap' };

  test('tells each entity that is there, then follows without a gap, while all changes', async () => {
    const uids = upTo(300).map((n) => `s${n}`);
    const counters = new Map(uids.map((uid) => [uid, 2]));
    for (const uid of uids) await stack.publish(uid, [1, 2], filter);
    await stack.publish('gone', [1], filter);
    await stack.publish('gone', [2], { ...filter, removed: true });

    let busy = true;
    const change = async (): Promise<void> => {
      for (let n = 0; busy; n = (n + 7) % uids.length) {
        const uid = uids[n] ?? '';
        const seq = (counters.get(uid) ?? 0) + 1;
        counters.set(uid, seq);
        await stack.publish(uid, [seq], filter);
      }
    };
    const changing = change();
    await using watcher = new Watcher(events, { ...snapshot, filter });
    await watcher.until('synced').finally(() => {
      busy = false;
    });
    await changing;
    const total = () =>
      new Map([...watcher.ids].map((id) => [id.split('/')[1] ?? '', Number(id.split('/')[2])]));
    while ([...counters].some(([uid, seq]) => total().get(uid) !== seq)) await watcher.next();
    // In order per entity, none twice: the first of each stands for what was before, then one after the other.
    const last = new Map<string, number>();
    for (const id of watcher.ids) {
      const [, uid = '', seq] = id.split('/');
      const before = last.get(uid);
      if (before !== undefined) expect(Number(seq)).toBe(before + 1);
      last.set(uid, Number(seq));
    }
    expect(last.size).toBe(300);
    expect(watcher.ids.some((id) => id.startsWith('zone/gone'))).toBe(false);
  });

  test('goes on in its middle, on another replica', async () => {
    const own = { owner: 'half' };
    for (const n of upTo(250)) await stack.publish(`h${n}`, [1], own);
    await using first = new Watcher(events, { ...snapshot, filter: own });
    await first.events(100);
    await first[Symbol.asyncDispose]();
    await stack.publish('h7', [2], own);
    await stack.publish('h240', [2], own);
    await using second = new Watcher(others, { ...resume(first.token), filter: own });
    await second.until('synced');
    const all = [...first.ids, ...second.ids];
    const expected = [
      ...upTo(250)
        .filter((n) => n !== 240)
        .map((n) => `zone/h${n}/1`),
      'zone/h7/2',
      'zone/h240/2',
    ];
    expect(all.toSorted()).toEqual(expected.toSorted());
    expect(new Set(all).size).toBe(all.length);
  });

  test('of nothing is synced at once', async () => {
    await using watcher = new Watcher(events, { ...snapshot, filter: { owner: 'nobody at all' } });
    expect((await watcher.next())?.message?.$case).toBe('synced');
  });
});

describe('a token', () => {
  test('goes on after its message on any replica: nothing lost, nothing twice', async () => {
    const filter = { owner: 'resume' };
    await stack.publish('r1', upTo(500), filter);
    const seen: string[] = [];
    let token = '';
    for (let round = 0; seen.length < 500; round += 1) {
      const start = token === '' ? earliest : resume(token);
      await using watcher = new Watcher(round % 2 === 0 ? events : others, { ...start, filter });
      await watcher.events(Math.min(77, 500 - seen.length));
      seen.push(...watcher.ids);
      token = watcher.token;
    }
    expect(seen).toEqual(ids('r1', upTo(500)));
  });

  test('of a quiet filter moves on with the stream', async () => {
    const filter = { owner: 'quiet' };
    await stack.publish('q1', [1], filter);
    await using watcher = new Watcher(events, { filter });
    await watcher.until('heartbeat');
    const before = watcher.token;
    await stack.publish('loud', upTo(50), { owner: 'loud' });
    await watcher.until('heartbeat', ({ resumeToken }) => resumeToken !== before);
    const { jsm } = await stack.bus.ready();
    const { state } = await jsm.streams.info(streams.events);
    expect(Buffer.from(watcher.token, 'base64url').toString()).toContain(`.${state.last_seq}.`);
  });

  test('of another filter, damaged, or made up is refused', async () => {
    const filter = { owner: 'token' };
    await using watcher = new Watcher(events, { filter });
    await watcher.until('heartbeat');
    const { token } = watcher;
    expect(await refusal({ ...resume(token), filter: { owner: 'tokem' } })).toMatchObject({
      kind: 'invalid',
    });
    expect(await refusal({ ...resume(token), filter: { ...filter, entity: 'vm' } })).toMatchObject({
      kind: 'invalid',
    });
    expect(await refusal({ ...resume(token), filter: { entity: 'job' } })).toMatchObject({ kind: 'invalid' });
    const text = Buffer.from(token, 'base64url').toString();
    const hostile = [
      '',
      'x',
      '0',
      token.slice(1),
      `${token.slice(0, 20)}A${token.slice(21)}`,
      token.repeat(10),
      'A'.repeat(100_000),
      '../../etc/passwd',
      '\u0000\u0001',
      '{"place":1}',
      Buffer.from(text.replace(/\.\d+\./, '.999999.')).toString('base64url'),
      Buffer.from(text.replace(/\.\d+\./, '.-1.')).toString('base64url'),
      Buffer.from(text.replace(/\.\d+\./, '.1e9.')).toString('base64url'),
      Buffer.from(text.replace(/\.\d+\./, `.${'9'.repeat(40)}.`)).toString('base64url'),
    ];
    for (const each of hostile) {
      expect([each.slice(0, 30), await refusal({ ...resume(each), filter })]).toMatchObject([
        each.slice(0, 30),
        { kind: 'invalid' },
      ]);
    }
  });
});

test('a reader that stops reading holds up nothing and is not gathered for', async () => {
  const filter = { owner: 'slow' };
  await stack.publish('l1', upTo(5_000), filter);
  await using slow = new Watcher(events, { ...earliest, filter });
  await slow.events(1);
  await using quick = new Watcher(events, { ...earliest, filter });
  await quick.events(5_000);
  const { jsm } = await stack.bus.ready();
  const given: number[] = [];
  for await (const { config, delivered } of jsm.consumers.list(streams.events)) {
    if (config.filter_subject === 'nephos.v1.slow.*.*.*') given.push(delivered.consumer_seq);
  }
  // What fits into the connection's own window, and one group.
  expect(Math.min(...given)).toBeLessThan(2_000);
  expect(await slow.events(5_000)).toEqual(ids('l1', upTo(5_000)));
});

test('a watch leaves nothing durable at the broker, and nothing at all when it ends in order', async () => {
  const filter = { owner: 'tidy' };
  const { jsm } = await stack.bus.ready();
  const own = async () => {
    const found = [];
    for await (const { config } of jsm.consumers.list(streams.events)) {
      if (config.filter_subject === 'nephos.v1.tidy.*.*.*') found.push(config);
    }
    return found;
  };
  const watcher = new Watcher(events, { filter });
  await watcher.until('heartbeat');
  await stack.publish('y1', [1], filter);
  await watcher.events(1);
  const [config, ...rest] = await own();
  expect(rest).toEqual([]);
  expect(config?.durable_name).toBeUndefined();
  expect(config?.inactive_threshold).toBe(30_000_000_000);
  await watcher[Symbol.asyncDispose]();
  while ((await own()).length > 0) await systemClock.sleep(20);
});

test('what is no event is passed over', async () => {
  const filter = { owner: 'junk' };
  const { publisher } = await stack.bus.ready();
  await publisher.publish('nephos.v1.junk._.zone.x', 'not JSON', 'junk');
  await stack.publish('x', [1], filter);
  await using watcher = new Watcher(events, { ...earliest, filter });
  expect(await watcher.events(1)).toEqual(['zone/x/1']);
});

test('no more than are allowed', async () => {
  const { events: small } = await stack.replica({ NEPHOS_EVENTS_WATCHES: '2' });
  await using one = new Watcher(small, {});
  await using two = new Watcher(small, {});
  await Promise.all([one.next(), two.next()]);
  expect(await refusal({}, small)).toMatchObject({ kind: 'exhausted', reason: 'LIMIT_REACHED' });
  await one[Symbol.asyncDispose]();
  for (;;) {
    await using again = new Watcher(small, {});
    const came = await again.next().catch(() => undefined);
    if (came !== undefined) break;
  }
});

test('a replica that stops says so, with a token for another', async () => {
  const filter = { owner: 'drain' };
  const leaving = await stack.replica();
  await using watcher = new Watcher(leaving.events, { filter });
  await watcher.until('heartbeat');
  await stack.publish('d1', [1], filter);
  await watcher.events(1);
  const stopping = leaving.stop();
  const { resumeToken } = await watcher.until('drain');
  await stack.publish('d1', [2], filter);
  await using next = new Watcher(others, { ...resume(resumeToken), filter });
  expect(await next.events(1)).toEqual(['zone/d1/2']);
  await stopping;
});
