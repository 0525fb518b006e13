// Watches over the death of a replica, of the broker, of the streams; and behind what is kept.
import { expect, test } from '@jest/globals';
import { filterSubject, lifeOf, streams } from '@nephos/events';
import { StartPoint } from '@nephos/proto/nephos/events/v1/event_service';
import { systemClock } from '@nephos/service';
import { bindingOf, encodeResumeToken } from '../src/domain/resume-token.ts';
import { Stack, upTo, Watcher } from './support/stack.ts';

const earliest = { start: { $case: 'point', value: StartPoint.EARLIEST } } as const;
const snapshot = { start: { $case: 'point', value: StartPoint.SNAPSHOT } } as const;
const resume = (token: string) => ({ start: { $case: 'resumeToken', value: token } }) as const;
const ids = (uid: string, sequences: readonly number[]) => sequences.map((seq) => `zone/${uid}/${seq}`);

/** How the watch ends. */
async function endOf(watcher: Watcher): Promise<unknown> {
  try {
    while ((await watcher.next()) !== undefined);
    return undefined;
  } catch (error) {
    return error;
  }
}

test('a replica is killed in the middle: another goes on, nothing lost, what is repeated lies after the token', async () => {
  await using stack = await Stack.open();
  const [first, second] = [await stack.process(), await stack.process()];
  let writing = true;
  let written = 0;
  const write = async (): Promise<void> => {
    while (writing) {
      await stack.publish('k', upTo(20, written + 1));
      written += 20;
    }
  };
  await using before = new Watcher(first.events, earliest);
  await before.until('heartbeat');
  const writes = write();
  await before.events(500);
  await first.kill();
  const failure = await endOf(before);
  expect(failure).toMatchObject({ kind: 'unavailable' });
  await using after = new Watcher(second.events, resume(before.token));
  await after.events(500);
  writing = false;
  await writes;
  await after.events(written - before.ids.length);
  expect([...before.ids, ...after.ids]).toEqual(ids('k', upTo(written)));
});

test('the broker is killed and comes back: the watch goes on by itself', async () => {
  await using stack = await Stack.open();
  const { events } = await stack.replica();
  await stack.publish('b', upTo(50));
  await using watcher = new Watcher(events, earliest);
  await watcher.events(50);
  await stack.nats.kill();
  const { message } = await watcher.until('heartbeat');
  expect(message).toMatchObject({ value: { caughtUp: false } });
  await stack.nats.restart();
  await stack.publish('b', upTo(50, 51));
  expect(await watcher.events(100)).toEqual(ids('b', upTo(100)));
});

test('while the broker is away a new watch waits, with signs of life', async () => {
  await using stack = await Stack.open();
  const { events } = await stack.replica();
  await stack.publish('w', [1]);
  await stack.nats.kill();
  await using watcher = new Watcher(events, earliest);
  expect(await watcher.next()).toMatchObject({ resumeToken: '', message: { $case: 'heartbeat' } });
  await stack.nats.restart();
  expect(await watcher.events(1)).toEqual(['zone/w/1']);
});

test('the streams are made anew: RESYNC_REQUIRED, for the watch and for its token; a snapshot goes on', async () => {
  await using stack = await Stack.open();
  const { events } = await stack.replica();
  await stack.publish('a', [1]);
  await using watcher = new Watcher(events, earliest);
  await watcher.events(1);
  const session = await stack.bus.ready();
  await session.jsm.streams.delete(streams.events);
  stack.bus.renew(session);
  expect(await endOf(watcher)).toMatchObject({ kind: 'out-of-range', reason: 'RESYNC_REQUIRED' });
  await stack.bus.ready();
  await stack.publish('a', [2]);
  await using old = new Watcher(events, resume(watcher.token));
  expect(await endOf(old)).toMatchObject({ kind: 'out-of-range', reason: 'RESYNC_REQUIRED' });
  await using anew = new Watcher(events, snapshot);
  await anew.until('synced');
  expect(anew.ids).toEqual(['zone/a/2']);
});

async function trim(stack: Stack, keep: number): Promise<void> {
  const { jsm } = await stack.bus.ready();
  await jsm.streams.purge(streams.events, { keep });
}

test('behind what is kept: RESYNC_REQUIRED for a token, a time, and a reader that stood still', async () => {
  await using stack = await Stack.open();
  const { events } = await stack.replica();
  const began = systemClock.now();
  await stack.publish('o', upTo(4_000));
  await using first = new Watcher(events, earliest);
  await first.events(2);
  const { token } = first;
  // It reads no further: what the connection holds and one group are all that it can still get.
  await trim(stack, 10);
  const ended = await endOf(first);
  expect(ended).toMatchObject({ kind: 'out-of-range', reason: 'RESYNC_REQUIRED' });
  expect(first.ids).toEqual(ids('o', upTo(first.ids.length)));
  expect(first.ids.length).toBeLessThan(3_000);

  for (const request of [resume(token), { start: { $case: 'time', value: began } } as const]) {
    await using late = new Watcher(events, request);
    expect(await endOf(late)).toMatchObject({ kind: 'out-of-range', reason: 'RESYNC_REQUIRED' });
  }
  await using kept = new Watcher(events, earliest);
  expect(await kept.events(10)).toEqual(ids('o', upTo(10, 3_991)));
  await trim(stack, 0);
  await using state = new Watcher(events, snapshot);
  await state.until('synced');
  expect(state.ids).toEqual(['zone/o/4000']);
  await stack.publish('o', [4_001]);
  expect(await state.events(2)).toEqual(['zone/o/4000', 'zone/o/4001']);
});

test('a broker that lost its newest events and grew again is noticed', async () => {
  await using stack = await Stack.open();
  const { events } = await stack.replica();
  await stack.publish('n', upTo(10));
  const { jsm } = await stack.bus.ready();
  const life = lifeOf(await jsm.streams.info(streams.events));
  const message = await jsm.direct.getMessage(streams.events, { seq: 10 });
  const binding = bindingOf(`${streams.events} ${life}`, filterSubject('entities', {}));
  const tokenOf = (place: number, mark: number) => encodeResumeToken({ place, mark }, binding);
  const mark = message?.time.getTime() ?? 0;
  await using same = new Watcher(events, earliest);
  await same.events(10);
  expect(same.token).toBe(tokenOf(10, mark));
  // As after a power cut without synced writes: the same stream, another message at the place, or none yet.
  for (const lost of [tokenOf(10, mark - 1), tokenOf(11, mark)]) {
    await using watcher = new Watcher(events, resume(lost));
    expect(await endOf(watcher)).toMatchObject({ kind: 'out-of-range', reason: 'RESYNC_REQUIRED' });
  }
});

test('100,000 events of catching up come whole and in order', async () => {
  await using stack = await Stack.open();
  const { events } = await stack.replica();
  for (const n of upTo(100)) await stack.publish(`c${n}`, upTo(1_000));
  await using watcher = new Watcher(events, earliest);
  await watcher.events(100_000);
  const last = new Map<string, number>();
  for (const id of watcher.ids) {
    const [, uid = '', seq] = id.split('/');
    if (Number(seq) !== (last.get(uid) ?? 0) + 1) throw new Error(`${id} after ${last.get(uid)}`);
    last.set(uid, Number(seq));
  }
  expect([...last.values()]).toEqual(Array(100).fill(1_000));
}, 600_000);
