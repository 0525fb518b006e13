import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { systemClock } from '@nephos/service';
import {
  type Bus,
  countDeadLetters,
  dropDeadLetter,
  type EntityEvent,
  encodeEvent,
  eventId,
  getDeadLetter,
  type HandlerContext,
  type KeptDeadLetter,
  listDeadLetters,
  redriveDeadLetter,
  redriveSubject,
  subjectOf,
  subscribe,
} from '../src/index.ts';
import { type NatsServer, startNatsServer } from '../src/testing.ts';
import { busAt, until } from './harness.ts';

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

async function publish(owner: string, uid: string, ...sequences: number[]): Promise<void> {
  for (const seq of sequences) {
    const address = { entity: 'zone', uid, owner, zone: '' };
    const body = encodeEvent(
      {
        tree: 'entities',
        address,
        verb: 'updated',
        source: '/nephos/test',
        name: `zones/${uid}`,
        schema: 'nephos.orchestration.v1.Zone',
        change: { new: { description: String(seq) }, changedPaths: ['description'] },
      },
      { seq, firstSeq: seq, at: '2026-11-23T05:00:00.000Z' },
    );
    const { publisher } = await bus.ready();
    await publisher.publish(subjectOf('entities', address), body, `${owner}/${eventId(address, seq)}`);
  }
}

async function letters(subscription: string): Promise<KeptDeadLetter[]> {
  const found: KeptDeadLetter[] = [];
  for await (const letter of listDeadLetters(await bus.ready(), { subscription })) found.push(letter);
  return found;
}

async function redrive(letterId: string | undefined, on = bus) {
  const { signal } = new AbortController();
  return await redriveDeadLetter(await on.ready(), letterId ?? '', { clock: systemClock, signal });
}

/** A subscription that fails on what it is told to, and remembers what it was given. */
function poisoned(name: string) {
  const poison = new Set<string>();
  const got: (Pick<EntityEvent, 'id'> & Pick<HandlerContext, 'attempt' | 'redriven'>)[] = [];
  const subscription = subscribe(
    bus,
    { name, filter: { owner: name }, attempts: 2, backoffMs: 5 },
    async ({ id }, { attempt, redriven }) => {
      got.push({ id, attempt, redriven });
      if (poison.has(id)) throw new Error(`cannot digest ${id}`);
    },
  );
  return { poison, got, subscription };
}

test('a letter is given to its subscription alone, marked; success takes it out, and no event comes twice', async () => {
  const { poison, got, subscription } = poisoned('one');
  await using _one = subscription;
  const bystander: string[] = [];
  await using _other = subscribe(bus, { name: 'one-other', filter: { owner: 'one' } }, async ({ id }) => {
    bystander.push(id);
  });
  poison.add('zone/a/2');
  await publish('one', 'a', 1, 2, 3);
  await publish('one', 'b', 1);
  await until(
    'the letter',
    () => subscription.counts.deadLetters === 1 && got.length === 5 && bystander.length === 4,
  );
  const [letter, ...others] = await letters('one');
  expect(others).toEqual([]);
  expect(letter).toMatchObject({
    subscription: 'one',
    entity: 'zone',
    id: 'a',
    eventId: 'zone/a/2',
    attempts: 2,
    redrives: 0,
    reason: 'Error: cannot digest zone/a/2',
    subject: 'nephos.v1.one._.zone.a',
    body: '',
  });
  const whole = await getDeadLetter(await bus.ready(), letter?.letterId ?? '');
  expect(JSON.parse(whole?.body ?? '')).toMatchObject({ id: 'zone/a/2', sequence: '2' });
  expect((await countDeadLetters(await bus.ready())).get('one')).toBe(1);

  const before = got.length;
  expect(await redrive(letter?.letterId)).toMatchObject({
    outcome: 'failed',
    reason: 'Error: cannot digest zone/a/2',
  });
  const [again] = await letters('one');
  expect(again).toMatchObject({ eventId: 'zone/a/2', attempts: 3, redrives: 1 });
  expect(again?.letterId).not.toBe(letter?.letterId);
  expect(await redrive(letter?.letterId)).toEqual({ outcome: 'gone' });

  poison.clear();
  expect(await redrive(again?.letterId)).toEqual({ outcome: 'handled' });
  expect(await letters('one')).toEqual([]);
  expect(await redrive(again?.letterId)).toEqual({ outcome: 'gone' });
  expect(got.slice(before)).toEqual([
    { id: 'zone/a/2', attempt: 3, redriven: true },
    { id: 'zone/a/2', attempt: 4, redriven: true },
  ]);
  await publish('one', 'a', 4);
  await until('the next', () => got.at(-1)?.id === 'zone/a/4');
  expect(subscription.counts).toMatchObject({
    redriven: 1,
    deadLetters: 1,
    recovered: 0,
    resynced: 0,
    duplicates: 0,
  });
  expect(bystander.filter((id) => id === 'zone/a/2')).toEqual(['zone/a/2']);
});

test('a new process knows nothing of the entity: a redrive moves no position and hides no event', async () => {
  const { poison, subscription } = poisoned('fresh');
  poison.add('zone/f/1');
  await publish('fresh', 'f', 1, 2, 3);
  await until('handled', () => subscription.counts.handled === 2);
  await subscription[Symbol.asyncDispose]();
  const second = poisoned('fresh');
  await using _second = second.subscription;
  await second.subscription.started;
  const [letter] = await letters('fresh');
  expect(await redrive(letter?.letterId)).toEqual({ outcome: 'handled' });
  await publish('fresh', 'f', 4);
  await until('the next', () => second.got.length === 2);
  expect(second.got.map(({ id }) => id)).toEqual(['zone/f/1', 'zone/f/4']);
  expect(second.subscription.counts).toMatchObject({ recovered: 0, resynced: 0 });
});

test('with nobody there the letter stays, and so it does when who had it falls silent', async () => {
  const { poison, subscription } = poisoned('away');
  poison.add('zone/w/1');
  await publish('away', 'w', 1);
  await until('the letter', () => subscription.counts.deadLetters === 1);
  await subscription[Symbol.asyncDispose]();
  const [letter] = await letters('away');
  expect(await redrive(letter?.letterId)).toEqual({ outcome: 'nobody-reads' });
  expect(await letters('away')).toEqual([letter]);
});

test('it waits for its turn among the events of its entity, and two who ask make it run once', async () => {
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  let poison = true;
  await using subscription = subscribe(
    bus,
    { name: 'turn', filter: { owner: 'turn' }, attempts: 1 },
    async ({ id }, { redriven }) => {
      if (poison && id === 'zone/t/1') throw new Error('poison');
      order.push(`${id}${redriven ? ' redriven' : ''} begins`);
      if (id === 'zone/t/2') await gate.promise;
      order.push(`${id} ends`);
    },
  );
  await publish('turn', 't', 1, 2, 3);
  await until('the second is in hand', () => order.length === 1);
  poison = false;
  const [letter] = await letters('turn');
  await using other = await busAt(nats.url);
  const asked: string[] = [];
  const { connection } = await bus.ready();
  const spy = connection.subscribe(redriveSubject('entities', 'turn'), {
    callback: (_, message) => void asked.push(message.subject),
  });
  const both = [redrive(letter?.letterId), redrive(letter?.letterId, other)];
  await publish('turn', 'elsewhere', 1);
  await until('both have asked', () => asked.length === 2);
  spy.unsubscribe();
  await until('another entity goes on', () => order.includes('zone/elsewhere/1 ends'));
  gate.resolve();
  // Who comes second finds it handled, or gone.
  const outcomes = (await Promise.all(both)).map(({ outcome }) => outcome);
  expect(outcomes.every((outcome) => outcome === 'handled' || outcome === 'gone')).toBe(true);
  await until('all', () => order.includes('zone/t/3 ends'));
  expect(order.filter((each) => each.includes('/t/'))).toEqual([
    'zone/t/2 begins',
    'zone/t/2 ends',
    'zone/t/1 redriven begins',
    'zone/t/1 ends',
    'zone/t/3 begins',
    'zone/t/3 ends',
  ]);
  expect(subscription.counts.redriven).toBe(1);
  expect(await letters('turn')).toEqual([]);
});

test('what is no event fails again and says why; what is dropped is gone; foreign ids name nothing', async () => {
  await using subscription = subscribe(
    bus,
    { name: 'junk', filter: { owner: 'junk' } },
    async () => undefined,
  );
  const { publisher } = await bus.ready();
  await publisher.publish('nephos.v1.junk._.zone.j', 'not JSON', 'junk/j');
  await subscription.started;
  await until('the letter', async () => (await letters('junk')).length === 1);
  const [letter] = await letters('junk');
  const { subject = '', entity = '' } = letter ?? {};
  expect({ subject, entity }).toEqual({ subject: 'nephos.v1.junk._.zone.j', entity: 'unknown' });
  const outcome = await redrive(letter?.letterId);
  expect(outcome).toMatchObject({ outcome: 'failed', reason: expect.stringContaining('not JSON') });
  const [again] = await letters('junk');
  if (!again) throw new Error('the letter is gone');
  const session = await bus.ready();
  expect(await dropDeadLetter(session, again)).toBe(true);
  expect(await dropDeadLetter(session, again)).toBe(false);
  expect(await letters('junk')).toEqual([]);
  for (const id of ['', '1', '1-zzz', '-1-a', '99999999999999999-a', '1-a; drop', again.letterId]) {
    expect(await getDeadLetter(session, id)).toBeUndefined();
  }
});
