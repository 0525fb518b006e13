// A subscription against a real broker: every event once and in order, whatever is lost, late or poisoned.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Zone } from '@nephos/proto/nephos/orchestration/v1/zone';
import { OutOfRange, systemClock } from '@nephos/service';
import { Dispatcher } from '../src/dispatcher.ts';
import { readRange } from '../src/history.ts';
import {
  type Bus,
  deadLetterHeaders,
  deadLetterRoot,
  decodeEvent,
  type EntityEvent,
  encodeEvent,
  eventId,
  streams,
  subjectOf,
  subscribe,
} from '../src/index.ts';
import { type NatsServer, startNatsServer } from '../src/testing.ts';
import { busAt, nothingWrong, Oracle, until } from './harness.ts';

let nats: NatsServer;
let bus: Bus;

beforeAll(async () => {
  nats = await startNatsServer();
  bus = await busAt(nats.url);
});

afterAll(async () => {
  await bus[Symbol.asyncDispose]();
  await nats.stop();
});

interface Extra {
  readonly firstSeq?: number;
  /** Instead of the event's own, as if the broker's window for repeats had passed. */
  readonly messageId?: string;
}

/** Publishes an event as a relay would. */
async function publish(owner: string, uid: string, seq: number, extra: Extra = {}): Promise<number> {
  const address = { entity: 'zone', uid, owner, zone: '' };
  const change = { new: { description: String(seq) }, changedPaths: ['description'] };
  const payload = {
    tree: 'entities',
    address,
    verb: 'updated',
    source: '/nephos/test',
    name: `zones/${uid}`,
  } as const;
  const pending = { seq, firstSeq: extra.firstSeq ?? seq, at: systemClock.now().toISOString() };
  const body = encodeEvent({ ...payload, schema: Zone.$type, change }, pending);
  const { publisher } = await bus.ready();
  const id = extra.messageId ?? eventId(address, seq);
  return (await publisher.publish(subjectOf('entities', address), body, id)).streamSequence;
}

async function publishAll(owner: string, uid: string, sequences: readonly number[]): Promise<void> {
  for (const seq of sequences) await publish(owner, uid, seq);
}

function countersOf(oracle: Oracle, uids: readonly string[]): Map<string, number> {
  return new Map(uids.map((uid) => [uid, oracle.last(uid)]));
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at + 1);

describe('a subscription', () => {
  test('gets what its filter means, as messages where it names the type', async () => {
    const got: EntityEvent<Zone>[] = [];
    await publishAll('acme.corp', 'f1', [1, 2]);
    await publishAll('other', 'f2', [1]);
    const options = { name: 'filter', filter: { owner: 'acme.corp', entity: 'zone' }, message: Zone };
    await using _ = subscribe(bus, options, async (event) => void got.push(event));
    await until('both came', () => got.length === 2);
    await publishAll('acme.corp', 'f1', [3]);
    await until('the third came', () => got.length === 3);
    expect(got.map(({ owner, sequence, new: now }) => [owner, sequence, now?.description])).toEqual([
      ['acme.corp', 1, '1'],
      ['acme.corp', 2, '2'],
      ['acme.corp', 3, '3'],
    ]);
  });

  test('resumes where it stopped, and repeats nothing', async () => {
    const oracle = new Oracle();
    const uids = upTo(20).map((at) => `r${at}`);
    const options = { name: 'resume', filter: { owner: 'resume' }, concurrency: 4 };
    const see = async (event: EntityEvent) => oracle.see(event);
    for (const uid of uids) await publishAll('resume', uid, upTo(10));
    const first = subscribe(bus, options, see);
    await until('some came', () => oracle.events > 20);
    await first[Symbol.asyncDispose]();
    for (const uid of uids) await publishAll('resume', uid, [11, 12]);
    const second = subscribe(bus, options, see);
    await until('all came', () => oracle.events >= 240);
    await second[Symbol.asyncDispose]();
    expect(oracle.events).toBe(240);
    expect(oracle.judge(new Map(uids.map((uid) => [uid, 12])))).toEqual(nothingWrong);
  });

  test('never overlaps the handlers of one entity, and holds to its concurrency', async () => {
    const running = new Set<string>();
    let most = 0;
    let handled = 0;
    for (const uid of ['o1', 'o2', 'o3', 'o4']) await publishAll('overlap', uid, upTo(10));
    const options = { name: 'overlap', filter: { owner: 'overlap' }, concurrency: 2 };
    await using _ = subscribe(bus, options, async ({ uid }) => {
      expect(running.has(uid)).toBe(false);
      running.add(uid);
      most = Math.max(most, running.size);
      await systemClock.sleep(1);
      running.delete(uid);
      handled += 1;
    });
    await until('all were handled', () => handled === 40);
    expect(most).toBe(2);
  });

  test('sets a poisoned event aside with its reason, and nobody waits for it', async () => {
    const got: string[] = [];
    let tries = 0;
    const options = {
      name: 'poison',
      filter: { owner: 'poison' },
      attempts: 4,
      backoffMs: 30,
      concurrency: 1,
    };
    for (const uid of ['bad', 'good']) await publishAll('poison', uid, [1, 2, 3]);
    await using subscription = subscribe(bus, options, async ({ uid, sequence }) => {
      if (uid === 'bad' && sequence === 2) {
        tries += 1;
        throw new Error('cannot digest\nthis');
      }
      got.push(`${uid}/${sequence}`);
    });
    await until('all others came', () => got.length === 5);
    expect(got.indexOf('good/3')).toBeLessThan(got.indexOf('bad/3'));
    expect(tries).toBe(4);
    expect(subscription.counts).toMatchObject({ handled: 5, deadLetters: 1 });
    const letters = readRange(await bus.ready(), {
      stream: streams.deadLetters,
      filter: `${deadLetterRoot}.poison.>`,
    });
    const { value: letter } = await letters.next();
    expect(letter?.subject).toBe('nephos-dead.v1.poison.zone.bad');
    expect(letter?.headers?.get(deadLetterHeaders.reason)).toBe('Error: cannot digest this');
    expect(letter?.headers?.get(deadLetterHeaders.attempts)).toBe('4');
    expect(letter?.json()).toMatchObject({ id: 'zone/bad/2' });
    await letters.return(undefined);
  });

  test('sets aside what is no event at all', async () => {
    const got: string[] = [];
    const { publisher } = await bus.ready();
    await publisher.publish('nephos.v1.junk._.zone.j1', 'not JSON', 'junk-1');
    await publish('junk', 'j1', 1);
    await using _ = subscribe(
      bus,
      { name: 'junk', filter: { owner: 'junk' } },
      async ({ id }) => void got.push(id),
    );
    await until('the event came', () => got.length === 1);
    const range = { stream: streams.deadLetters, filter: `${deadLetterRoot}.junk.>` };
    const letters: string[] = [];
    await until('the junk is a dead letter', async () => {
      for await (const letter of readRange(await bus.ready(), range)) letters.push(letter.string());
      return letters.length > 0;
    });
    expect(letters).toEqual(['not JSON']);
    expect(got).toEqual(['zone/j1/1']);
  });

  test('drops what comes twice: the broker may hold a repeat that its window did not catch', async () => {
    const oracle = new Oracle();
    const raw = new Oracle();
    await using subscription = subscribe(bus, { name: 'twice', filter: { owner: 'twice' } }, async (event) =>
      oracle.see(event),
    );
    for (const seq of [1, 2, 3]) {
      await publish('twice', 't1', seq);
      await publish('twice', 't1', seq, { messageId: `again-${seq}` });
    }
    await publish('twice', 't1', 2, { messageId: 'late-2' });
    await until('all came', () => oracle.events === 3 && subscription.counts.duplicates === 4);
    expect(oracle.judge(new Map([['t1', 3]]))).toEqual(nothingWrong);
    // The control: without the dedup of the library the same oracle sees the repeats.
    const range = { stream: streams.events, filter: 'nephos.v1.twice.*.*.*' };
    for await (const message of readRange(await bus.ready(), range)) {
      raw.see(decodeEvent(message.subject, message.string()));
    }
    expect(raw.judge(new Map([['t1', 3]]))).toEqual({ lost: 0, doubled: 4, disordered: 0 });
  });

  test('resyncs an entity whose events are gone, while others go on', async () => {
    const got: EntityEvent[] = [];
    await using subscription = subscribe(bus, { name: 'gap', filter: { owner: 'gap' } }, async (event) => {
      got.push(event);
    });
    await publishAll('gap', 'g1', [1, 2]);
    await until('the first came', () => got.length === 2);
    await publishAll('gap', 'g1', [6]);
    await publishAll('gap', 'g2', [1]);
    await until('both came', () => got.length === 4);
    expect(got.find(({ sequence }) => sequence === 6)).toMatchObject({
      firstSequence: 3,
      resync: true,
      new: { description: '6' },
    });
    await publishAll('gap', 'g1', [7]);
    await until('it goes on', () => got.length === 5);
    expect(got.at(-1)).toMatchObject({ sequence: 7, resync: false });
    expect(subscription.counts).toMatchObject({ resynced: 1, recovered: 0 });
  });

  test('recovers from the stream what its consumer was not given', async () => {
    const oracle = new Oracle();
    const stop = new AbortController();
    const handle = async (event: EntityEvent) => oracle.see(event);
    const options = {
      name: 'holes',
      tree: 'entities',
      concurrency: 4,
      attempts: 3,
      backoffMs: 10,
      handle,
    } as const;
    const dispatcher = new Dispatcher(bus, options, stop.signal);
    const uids = ['h1', 'h2', 'h3'];
    for (const seq of upTo(12)) for (const uid of uids) await publish('holes', uid, seq);
    const acknowledged: number[] = [];
    const range = { stream: streams.events, filter: 'nephos.v1.holes.*.*.*' };
    for await (const message of readRange(await bus.ready(), range)) {
      const event = decodeEvent(message.subject, message.string());
      // As if a connection had died with these in flight.
      if ([4, 5, 9].includes(event.sequence)) continue;
      const ack = (): void => void acknowledged.push(message.seq);
      const delivery = {
        event,
        body: message.string(),
        natsSubject: message.subject,
        ack,
        working: () => undefined,
      };
      dispatcher.receive({ ...delivery, streamSequence: message.seq });
    }
    await dispatcher.idle();
    await until('all came', () => uids.every((uid) => oracle.last(uid) === 12));
    expect(oracle.judge(countersOf(oracle, uids))).toEqual(nothingWrong);
    expect(dispatcher.counts).toMatchObject({ handled: 36, recovered: 9, resynced: 0 });
    expect(acknowledged).toHaveLength(27);
    stop.abort();
  });

  test('that was killed with events in hand gets them again, in order, before what is newer', async () => {
    const oracle = new Oracle();
    const uids = ['k1', 'k2'];
    const options = { name: 'killed', filter: { owner: 'killed' } };
    const mortal = await busAt(nats.url);
    const hang = Promise.withResolvers<void>();
    const first = subscribe(mortal, options, () => hang.promise);
    await first.started;
    for (const uid of uids) await publishAll('killed', uid, [1, 2, 3]);
    await until('they are in hand', async () => {
      const info = await (await bus.ready()).jsm.consumers.info(streams.events, 'killed');
      return info.num_ack_pending === 6;
    });
    await (await mortal.ready()).connection.close();
    for (const uid of uids) await publishAll('killed', uid, [4, 5]);
    const second = subscribe(bus, options, async (event) => oracle.see(event));
    await until('all came', () => uids.every((uid) => oracle.last(uid) === 5));
    expect(oracle.judge(countersOf(oracle, uids))).toEqual(nothingWrong);
    await second[Symbol.asyncDispose]();
    const info = await (await bus.ready()).jsm.consumers.info(streams.events, 'killed');
    expect([info.num_ack_pending, info.num_pending]).toEqual([0, 0]);
    hang.resolve();
    await mortal[Symbol.asyncDispose]();
    await first[Symbol.asyncDispose]();
  }, 30_000);

  test('is made anew when its consumer disappears, and goes on from its place', async () => {
    const oracle = new Oracle();
    await using _ = subscribe(
      bus,
      { name: 'vanish', filter: { owner: 'vanish' }, from: 'new' },
      async (event) => oracle.see(event),
    );
    await _.started;
    await publishAll('vanish', 'v1', [1, 2]);
    await until('the first came', () => oracle.events === 2);
    const { jsm } = await bus.ready();
    await jsm.consumers.delete(streams.events, 'vanish');
    await publishAll('vanish', 'v1', [3, 4]);
    await until('the rest came', () => oracle.events === 4);
    expect(oracle.judge(new Map([['v1', 4]]))).toEqual(nothingWrong);
  });

  test('begins at a sequence, at a time, or with what is new; behind what is kept it says RESYNC_REQUIRED', async () => {
    const got: Record<string, number[]> = {};
    const start = (name: string, from: Parameters<typeof subscribe>[1]['from'] & {}) => {
      const seen: number[] = (got[name] = []);
      return subscribe(
        bus,
        { name, from, filter: { owner: 'from' } },
        async ({ sequence }) => void seen.push(sequence),
      );
    };
    await publishAll('from', 'f', [1, 2]);
    // Times are told in milliseconds: the third shall have one of its own.
    await systemClock.sleep(5);
    const place = await publish('from', 'f', 3);
    const info = await (await bus.ready()).jsm.direct.getMessage(streams.events, { seq: place });
    await using _sequence = start('from-sequence', { sequence: place });
    await using _time = start('from-time', info?.time ?? new Date(0));
    await using fresh = start('from-new', 'new');
    await using everything = start('from-all', 'all');
    await Promise.all([fresh.started, everything.started]);
    await publish('from', 'f', 4);
    await until('all came', () => Object.values(got).every((seen) => seen.includes(4)));
    expect(got).toEqual({
      'from-sequence': [3, 4],
      'from-time': [3, 4],
      'from-new': [4],
      'from-all': [1, 2, 3, 4],
    });
    await (await bus.ready()).jsm.streams.purge(streams.events, { seq: place });
    await using late = start('from-lost', { sequence: 1 });
    await expect(late.started).rejects.toBeInstanceOf(OutOfRange);
  });

  test('whose position fell behind what is kept is brought up to date from the state', async () => {
    const oracle = new Oracle();
    const resynced: string[] = [];
    const options = { name: 'behind', filter: { owner: 'behind' } };
    const see = async (event: EntityEvent) => {
      oracle.see(event);
      if (event.resync) resynced.push(event.id);
    };
    await publishAll('behind', 'b1', [1]);
    await publishAll('behind', 'b0', [1]);
    const first = subscribe(bus, options, see);
    await until('the first came', () => oracle.events === 2);
    await first[Symbol.asyncDispose]();
    await publishAll('behind', 'b1', [2, 3]);
    await publishAll('behind', 'b2', [1, 2]);
    const { jsm } = await bus.ready();
    await until('the state has b2', async () => {
      const state = await jsm.direct.getMessage(streams.state, {
        last_by_subj: 'nephos.v1.behind._.zone.b2',
      });
      return state?.json<{ sequence: string }>().sequence === '2';
    });
    // The bound of the stream takes the oldest away, as its age would.
    await jsm.streams.update(streams.events, { max_msgs: 1 });
    await publishAll('behind', 'b1', [4]);
    await jsm.streams.update(streams.events, { max_msgs: -1 });
    await until('the state has b1', async () => {
      const state = await jsm.direct.getMessage(streams.state, {
        last_by_subj: 'nephos.v1.behind._.zone.b1',
      });
      return state?.json<{ sequence: string }>().sequence === '4';
    });
    await using _ = subscribe(bus, options, see);
    await until('all came', () => oracle.last('b1') === 4 && oracle.last('b2') === 2);
    expect(resynced.sort()).toEqual(['zone/b0/1', 'zone/b1/4', 'zone/b2/2']);
    expect(
      oracle.judge(
        new Map([
          ['b1', 4],
          ['b2', 2],
        ]),
      ),
    ).toMatchObject({ lost: 0, disordered: 0 });
  });

  test('that is stopped while it starts ends, whatever it was about to do', async () => {
    for (let delayMs = 0; delayMs < 12; delayMs += 1) {
      const subscription = subscribe(
        bus,
        { name: `brief-${delayMs}`, filter: { owner: 'brief' } },
        async () => {},
      );
      if (delayMs === 11) await subscription.started;
      else await systemClock.sleep(delayMs);
      await subscription[Symbol.asyncDispose]();
    }
  });
});
