// Subscriptions and dead letters as an operator sees them over gRPC.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Bus, type Subscription as Reader, streams, subscribe } from '@nephos/events';
import {
  DeadLetterServiceDefinition,
  RedriveDeadLettersResponse_Outcome as Outcome,
} from '@nephos/proto/nephos/events/v1/dead_letter';
import {
  Subscription_Activity as Activity,
  SubscriptionServiceDefinition,
} from '@nephos/proto/nephos/events/v1/subscription';
import { type Client, systemClock } from '@nephos/service';
import { Stack, upTo } from './support/stack.ts';

let stack: Stack;
let bus: Bus;
let subscriptions: Client<typeof SubscriptionServiceDefinition>;
let letters: Client<typeof DeadLetterServiceDefinition>;
let onOther: Client<typeof DeadLetterServiceDefinition>;

beforeAll(async () => {
  stack = await Stack.open();
  bus = stack.bus;
  const [one, other] = [await stack.replica(), await stack.replica()];
  subscriptions = stack.clients.of(SubscriptionServiceDefinition, one.at);
  letters = stack.clients.of(DeadLetterServiceDefinition, one.at);
  onOther = stack.clients.of(DeadLetterServiceDefinition, other.at);
});

afterAll(async () => stack[Symbol.asyncDispose]());

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await systemClock.sleep(10);
}

const get = (name: string) => subscriptions.getSubscription({ name: `subscriptions/${name}` });

describe('subscriptions', () => {
  test('lag, age, what is unacknowledged, and whether anybody reads', async () => {
    const place = { owner: 'lag.ging', zone: 'zones/z9' };
    const gate = Promise.withResolvers<void>();
    const filter = { owner: 'lag.ging', zone: 'zones/z9', entity: 'zone' };
    const reader = subscribe(bus, { name: 'lagging', filter, concurrency: 1 }, () => gate.promise);
    await reader.started;
    await stack.publish('l1', [1, 2, 3], place);
    await until(async () => (await get('lagging')).unacknowledged === 3n);
    const busy = await get('lagging');
    expect(busy).toMatchObject({
      name: 'subscriptions/lagging',
      stream: streams.events,
      selection: {
        subjects: ['nephos.v1.lag%2Eging.z9.zone.*'],
        entity: 'zone',
        owner: 'lag.ging',
        zone: 'zones/z9',
        uid: undefined,
      },
      activity: Activity.READING,
      lag: 0n,
      redelivered: 0n,
      deadLetters: 0n,
    });
    expect(busy.oldestUnhandledAge).toBeDefined();
    const { jsm } = await bus.ready();
    const oldest = await jsm.direct.getMessage(streams.events, {
      next_by_subj: 'nephos.v1.lag%2Eging.>',
      seq: 1,
    });
    expect(busy.oldestUnhandledTime).toEqual(oldest?.time);
    gate.resolve();
    await until(async () => (await get('lagging')).unacknowledged === 0n);
    expect(await get('lagging')).toMatchObject({
      oldestUnhandledTime: undefined,
      oldestUnhandledAge: undefined,
    });

    await reader[Symbol.asyncDispose]();
    await stack.publish('l1', [4, 5], place);
    // Between two pulls of a reader nobody asks either: only after a while it is said to have stopped.
    await until(async () => (await get('lagging')).activity === Activity.STOPPED);
    expect(await get('lagging')).toMatchObject({ lag: 2n, oldestUnhandledTime: expect.any(Date) });
  });

  test('are listed in pages, with those of jobs, and without watches and other passing readers', async () => {
    const open: Reader[] = upTo(5).map((n) => subscribe(bus, { name: `page-${n}` }, async () => undefined));
    open.push(subscribe(bus, { name: 'page-1', tree: 'jobs', forgetAfterMs: 60_000 }, async () => undefined));
    await Promise.all(open.map(({ started }) => started));
    const names: string[] = [];
    let pageToken = '';
    do {
      const page = await subscriptions.listSubscriptions({ pageSize: 2, pageToken });
      expect(page.subscriptions.length).toBeLessThanOrEqual(2);
      names.push(...page.subscriptions.map(({ name }) => name));
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    expect(names).toEqual(names.toSorted());
    expect(names.filter((name) => name.includes('page'))).toEqual([
      'subscriptions/jobs.page-1',
      ...upTo(5).map((n) => `subscriptions/page-${n}`),
    ]);
    expect(await get('jobs.page-1')).toMatchObject({
      stream: streams.jobEvents,
      forgetAfter: { seconds: 60n },
    });
    await expect(subscriptions.listSubscriptions({ pageToken: 'x' })).rejects.toMatchObject({
      reason: 'PAGE_TOKEN_INVALID',
    });
    for (const reader of open) await reader.remove();
  });

  test('are forgotten when asked to, but not from under a reader', async () => {
    const reader = subscribe(bus, { name: 'forget' }, async () => undefined);
    await reader.started;
    const name = 'subscriptions/forget';
    await until(async () => (await get('forget')).activity === Activity.READING);
    await expect(subscriptions.deleteSubscription({ name })).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'RESOURCE_IN_USE',
    });
    await reader[Symbol.asyncDispose]();
    await subscriptions.deleteSubscription({ name, force: true });
    await expect(get('forget')).rejects.toMatchObject({ kind: 'not-found' });
    await expect(subscriptions.deleteSubscription({ name })).rejects.toMatchObject({ kind: 'not-found' });
  });

  test.each([
    '',
    'forget',
    'subscriptions/',
    'subscriptions/a.b',
    'subscriptions/*',
    'subscriptions/>',
    'subscriptions/jobs.',
    'subscriptions/a b',
    'subscriptions/../x',
  ])('the name %j is refused', async (name) => {
    await expect(subscriptions.getSubscription({ name })).rejects.toMatchObject({ kind: 'invalid' });
  });
});

describe('dead letters', () => {
  const poison = new Set<string>();
  const got: string[] = [];
  let reader: Reader;

  beforeAll(async () => {
    reader = subscribe(
      bus,
      { name: 'digest', filter: { owner: 'digest' }, attempts: 1 },
      async ({ id }, { redriven, attempt }) => {
        got.push(redriven ? `${id} redriven, try ${attempt}` : id);
        if (poison.has(id)) throw new Error(`cannot digest ${id}`);
      },
    );
    for (const uid of ['p', 'q', 'r']) for (const seq of [1, 2]) poison.add(`zone/${uid}/${seq}`);
    for (const uid of ['p', 'q', 'r']) await stack.publish(uid, [1, 2, 3], { owner: 'digest' });
    await until(() => reader.counts.deadLetters === 6 && reader.counts.handled === 3);
  });

  afterAll(async () => reader[Symbol.asyncDispose]());

  const all = { filter: 'subscription = "digest"' };

  test('are listed by filter and page, and shown whole', async () => {
    const { deadLetters } = await letters.listDeadLetters(all);
    expect(deadLetters.length).toBe(6);
    expect(deadLetters[0]).toMatchObject({
      subscription: 'digest',
      entity: 'zone',
      attempts: 1,
      redrives: 0,
      reason: expect.stringContaining('cannot digest'),
      cloudEvent: '',
    });
    expect(
      (await letters.listDeadLetters({ filter: 'entity = "zone" AND uid = "p"' })).deadLetters.map(
        ({ eventId }) => eventId,
      ),
    ).toEqual(['zone/p/1', 'zone/p/2']);
    expect((await letters.listDeadLetters({ filter: 'subscription = "dig*"' })).deadLetters.length).toBe(6);
    expect(
      (await letters.listDeadLetters({ filter: 'subscription = "*>"' }).catch(() => ({ deadLetters: [] })))
        .deadLetters,
    ).toEqual([]);
    expect(
      (await letters.listDeadLetters({ filter: `${all.filter} AND time > "2100-01-01T00:00:00Z"` }))
        .deadLetters,
    ).toEqual([]);
    const between = deadLetters[2]?.time?.toISOString() ?? '';
    const since = await letters.listDeadLetters({ filter: `${all.filter} AND time >= "${between}"` });
    expect(since.deadLetters.length).toBeLessThanOrEqual(6);
    expect(since.deadLetters.length).toBeGreaterThanOrEqual(4);

    const paged: string[] = [];
    let pageToken = '';
    do {
      const page = await letters.listDeadLetters({ ...all, pageSize: 4, pageToken });
      paged.push(...page.deadLetters.map(({ name }) => name));
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    expect(paged).toEqual(deadLetters.map(({ name }) => name));

    const whole = await onOther.getDeadLetter({ name: paged[0] ?? '' });
    expect(JSON.parse(whole.cloudEvent)).toMatchObject({ id: whole.eventId, specversion: '1.0' });
    expect((await get('digest')).deadLetters).toBe(6n);
  });

  test('are redriven: all of a filter, in order per entity, and again when they fail', async () => {
    poison.delete('zone/p/1');
    poison.delete('zone/p/2');
    got.length = 0;
    const outcomes: string[] = [];
    for await (const { eventId, outcome, reason, newName } of letters.redriveDeadLetters({
      which: { $case: 'filter', value: 'uid = "p"' },
    })) {
      outcomes.push(`${eventId} ${outcome}`);
      expect([reason, newName]).toEqual(['', '']);
    }
    expect(outcomes).toEqual([`zone/p/1 ${Outcome.HANDLED}`, `zone/p/2 ${Outcome.HANDLED}`]);
    expect(got).toEqual(['zone/p/1 redriven, try 2', 'zone/p/2 redriven, try 2']);

    // The first of q fails again and lies behind the second from then on: still it goes first.
    const { deadLetters } = await letters.listDeadLetters({ filter: 'uid = "q"' });
    const name = deadLetters[0]?.name ?? '';
    const again = [];
    for await (const each of letters.redriveDeadLetters({ which: { $case: 'name', value: name } }))
      again.push(each);
    expect(again).toMatchObject([
      { name, outcome: Outcome.FAILED, reason: 'Error: cannot digest zone/q/1', eventId: 'zone/q/1' },
    ]);
    expect(await letters.getDeadLetter({ name: again[0]?.newName ?? '' })).toMatchObject({
      attempts: 2,
      redrives: 1,
    });
    await expect(letters.getDeadLetter({ name })).rejects.toMatchObject({ kind: 'not-found' });
    poison.clear();
    got.length = 0;
    const rest = [];
    for await (const each of onOther.redriveDeadLetters({ which: { $case: 'filter', value: 'uid = "q"' } }))
      rest.push(each.outcome);
    expect(rest).toEqual([Outcome.HANDLED, Outcome.HANDLED]);
    expect(got).toEqual(['zone/q/1 redriven, try 3', 'zone/q/2 redriven, try 2']);
    for await (const each of letters.redriveDeadLetters({ which: { $case: 'name', value: name } }))
      expect(each).toMatchObject({ outcome: Outcome.GONE });
  });

  test('stay when nobody reads; are dropped one by one or by filter, never all by mistake', async () => {
    await reader[Symbol.asyncDispose]();
    const outcomes = [];
    for await (const { outcome } of letters.redriveDeadLetters({
      which: { $case: 'filter', value: all.filter },
    }))
      outcomes.push(outcome);
    expect(outcomes).toEqual([Outcome.NOBODY_READS, Outcome.NOBODY_READS]);
    const { deadLetters } = await letters.listDeadLetters(all);
    const [name = '', other = ''] = deadLetters.map((letter) => letter.name);
    await letters.deleteDeadLetter({ name });
    await expect(letters.deleteDeadLetter({ name })).rejects.toMatchObject({ kind: 'not-found' });
    await expect(letters.purgeDeadLetters({ force: true })).rejects.toMatchObject({ kind: 'invalid' });
    expect(await letters.purgeDeadLetters(all)).toEqual({ purgeCount: 1 });
    expect((await letters.getDeadLetter({ name: other })).name).toBe(other);
    expect(await letters.purgeDeadLetters({ ...all, force: true })).toEqual({ purgeCount: 1 });
    expect((await letters.listDeadLetters(all)).deadLetters).toEqual([]);
  });

  test('hostile names and filters are refused', async () => {
    for (const name of [
      '',
      'deadLetters/',
      'deadLetters/>',
      'deadLetters/*',
      'x/1-a',
      `deadLetters/${'9'.repeat(100)}`,
    ]) {
      await expect(letters.getDeadLetter({ name })).rejects.toMatchObject({ kind: 'invalid' });
    }
    await expect(letters.getDeadLetter({ name: 'deadLetters/999999-zz' })).rejects.toMatchObject({
      kind: 'not-found',
    });
    for (const filter of ['reason = "x"', 'time > 5', 'subscription', 'a = "b" OR c = "d"']) {
      await expect(letters.listDeadLetters({ filter })).rejects.toMatchObject({ reason: 'FILTER_INVALID' });
    }
  });

  test('a handler that hangs holds up its own entity alone', async () => {
    const hung = Promise.withResolvers<void>();
    let broken = true;
    await using _reader = subscribe(
      bus,
      { name: 'hang', filter: { owner: 'hang' }, attempts: 1 },
      async ({ uid }) => {
        if (broken) throw new Error('broken');
        if (uid === 'h0') await hung.promise;
      },
    );
    for (const n of upTo(5, 0)) await stack.publish(`h${n}`, [1], { owner: 'hang' });
    await until(
      async () =>
        (await letters.listDeadLetters({ filter: 'subscription = "hang"' })).deadLetters.length === 5,
    );
    broken = false;
    const handled: string[] = [];
    for await (const { eventId, outcome } of letters.redriveDeadLetters({
      which: { $case: 'filter', value: 'subscription = "hang"' },
    })) {
      handled.push(`${eventId} ${outcome}`);
      if (handled.length === 4) hung.resolve();
    }
    expect(handled.at(-1)).toBe(`zone/h0/1 ${Outcome.HANDLED}`);
    expect(handled.length).toBe(5);
  });
});
