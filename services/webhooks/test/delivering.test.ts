import { createHmac } from 'node:crypto';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import {
  Webhook_ContentMode as ContentMode,
  WebhookDelivery_State as DeliveryState,
  Webhook_State as State,
  type Webhook,
} from '@nephos/proto/nephos/webhooks/v1/webhook';
import { newUid, systemClock } from '@nephos/service';
import type { Received } from './support/endpoint.ts';
import { openWorld, type World } from './support/world.ts';

let world: World;
const day = 24 * 60 * 60_000;

beforeAll(async () => {
  world = await openWorld();
});
afterAll(async () => await world[Symbol.asyncDispose]());
beforeEach(() => {
  world.endpoint.answer = () => ({ status: 204 });
  world.endpoint.received.length = 0;
});

/** A webhook for the events of one owner, who is nobody else in these tests. */
async function hook(settings: Record<string, unknown> = {}, owner = newUid()) {
  const { webhook, secret } = await world.webhooks.createWebhook({
    webhook: {
      header: { displayName: 'hook', owner },
      url: world.endpoint.url,
      filter: { entity: 'pod' },
      ...settings,
    },
  });
  return { name: webhook?.header?.name ?? '', owner, secret };
}

function eventOf({ body }: Received): { id: string; subject: string; sequence: string; type: string } {
  return JSON.parse(body) as { id: string; subject: string; sequence: string; type: string };
}

function of(uid: string) {
  return (received: Received) => received.body.includes(`pods/${uid}`);
}

async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await ask();
    if (found !== undefined) return found;
    await systemClock.sleep(20);
  }
}

/** The tables of the service's store, one for each row that holds the text. */
function placesOf(text: string): string[] {
  const files = readdirSync(world.data, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.db'),
  );
  return files.flatMap((file) => {
    const db = new DatabaseSync(path.join(world.data, file), { readOnly: true });
    try {
      const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
      return tables.flatMap(({ name }) => {
        const rows = db.prepare(`SELECT * FROM "${name as string}"`).all();
        return rows.filter((row) => JSON.stringify(row).includes(text)).map(() => name as string);
      });
    } finally {
      db.close();
    }
  });
}

async function deliveryOf(name: string, state: DeliveryState) {
  return await until(async () => {
    const { deliveries } = await world.webhooks.listWebhookDeliveries({ parent: name });
    return deliveries.find((each) => each.state === state);
  });
}

async function stateOf(name: string, state: State): Promise<Webhook> {
  return await until(async () => {
    const webhook = await world.webhooks.getWebhook({ name });
    return webhook.state === state ? webhook : undefined;
  });
}

test('an event is delivered whole, signed, once', async () => {
  const { name, owner, secret } = await hook();
  const uid = await world.make(owner);
  const [received] = await world.endpoint.until(1, of(uid));
  expect(received?.headers).toMatchObject({ 'content-type': 'application/cloudevents+json; charset=utf-8' });
  expect(received && eventOf(received)).toMatchObject({
    specversion: '1.0',
    id: `pod/${uid}/1`,
    type: 'dev.nephos.pod.v1.created',
    source: '/nephos/producer',
    sequence: '1',
    data: { new: { header: { owner } } },
  });
  const {
    'webhook-id': id,
    'webhook-timestamp': time,
    'webhook-signature': signature,
  } = received?.headers ?? {};
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64');
  const digest = createHmac('sha256', key)
    .update(`${String(id)}.${String(time)}.${received?.body}`)
    .digest('base64');
  expect(signature).toBe(`v1,${digest}`);
  const delivery = await deliveryOf(name, DeliveryState.DELIVERED);
  expect(delivery).toMatchObject({ deliveryId: id, eventId: `pod/${uid}/1`, attemptCount: 1, event: '' });
  expect((await world.webhooks.getWebhookDelivery({ name: delivery.name })).event).toBe(received?.body);
});

test("others' events and other verbs are not delivered", async () => {
  const { owner } = await hook({ filter: { entity: 'pod', verbs: ['updated'] } });
  const theirs = await world.make(newUid());
  const uid = await world.make(owner);
  await world.change(theirs);
  await world.change(uid);
  const [first] = await world.endpoint.until(1);
  expect(first && eventOf(first)).toMatchObject({ id: `pod/${uid}/2` });
  expect(world.endpoint.received).toHaveLength(1);
});

test('binary mode', async () => {
  const { owner } = await hook({ contentMode: ContentMode.BINARY });
  const uid = await world.make(owner);
  const [received] = await world.endpoint.until(1, of(uid));
  expect(received?.headers).toMatchObject({ 'content-type': 'application/json', 'ce-id': `pod/${uid}/1` });
  expect(JSON.parse(received?.body ?? '')).toMatchObject({ new: { header: { owner } } });
});

test('what fails is tried again under the same id, in order per entity, while other entities go on', async () => {
  const { name, owner } = await hook();
  const stuck = await world.make(owner);
  world.endpoint.answer = (received, count) =>
    received.body.includes(`pods/${stuck}`) && count < 4 ? { status: 503 } : { status: 200 };
  await world.change(stuck);
  await world.change(stuck);
  const other = await world.make(owner);
  await world.endpoint.until(1, of(other));
  const received = await world.endpoint.until(4, of(stuck));
  const sequences = received
    .filter(({ headers }) => headers['webhook-id'])
    .map((each) => eventOf(each).sequence);
  expect(sequences.toSorted()).toEqual(sequences);
  const ids = new Map(received.map((each) => [each.headers['webhook-id'], eventOf(each).id]));
  expect(new Set(ids.values()).size).toBe(ids.size);
  await stateOf(name, State.ACTIVE);
});

test('given up, an event is a dead letter; it can be sent again or dropped', async () => {
  const { name, owner } = await hook();
  world.endpoint.answer = () => ({ status: 500 });
  const uid = await world.make(owner);
  await world.endpoint.until(1, of(uid));
  const failing = await stateOf(name, State.FAILING);
  expect(failing.failure?.message).toBe('answered 500');
  world.jump(2 * day);
  const dead = await deliveryOf(name, DeliveryState.DEAD);
  expect(dead.attemptCount).toBeGreaterThan(1);
  const { deliveries } = await world.webhooks.listWebhookDeliveries({
    parent: name,
    filter: 'state = "DEAD"',
  });
  expect(deliveries.map((each) => each.name)).toEqual([dead.name]);

  world.endpoint.answer = () => ({ status: 200 });
  expect(await world.webhooks.resendWebhookDeliveries({ name })).toEqual({ count: 1n });
  const delivered = await deliveryOf(name, DeliveryState.DELIVERED);
  expect(delivered).toMatchObject({ name: dead.name, attemptCount: dead.attemptCount + 1 });
  await stateOf(name, State.ACTIVE);

  expect(await world.webhooks.resendWebhookDeliveries({ name: dead.name })).toEqual({ count: 1n });
  await until(async () => {
    const now = await world.webhooks.getWebhookDelivery({ name: dead.name });
    return now.attemptCount === dead.attemptCount + 2 ? now : undefined;
  });
  expect(await world.webhooks.dropWebhookDeliveries({ name: dead.name })).toEqual({ count: 1n });
  await expect(world.webhooks.getWebhookDelivery({ name: dead.name })).rejects.toMatchObject({
    reason: 'RESOURCE_NOT_FOUND',
  });
});

test('a new secret signs beside the old one for a while', async () => {
  const { name, owner, secret } = await hook();
  const rotated = await world.webhooks.rotateWebhookSecret({ name, overlap: { seconds: 3600n, nanos: 0 } });
  expect(rotated.secret).not.toBe(secret);
  const uid = await world.make(owner);
  const [received] = await world.endpoint.until(1, of(uid));
  expect(String(received?.headers['webhook-signature']).split(' ')).toHaveLength(2);
  world.jump(2 * 3_600_000);
  await world.change(uid);
  const [, later] = await world.endpoint.until(2, of(uid));
  expect(String(later?.headers['webhook-signature']).split(' ')).toHaveLength(1);
});

test('a disabled webhook gets its events when it is enabled again', async () => {
  const { name, owner } = await hook();
  const uid = await world.make(owner);
  await world.endpoint.until(1, of(uid));
  await world.webhooks.updateWebhook({
    webhook: { header: { name }, disabled: true },
    updateMask: ['disabled'],
  });
  await world.change(uid);
  await world.webhooks.updateWebhook({
    webhook: { header: { name }, disabled: false },
    updateMask: ['disabled'],
  });
  const received = await world.endpoint.until(2, of(uid));
  expect(received.map((each) => eventOf(each).sequence)).toEqual(['1', '2']);
});

test('410 disables the webhook', async () => {
  const { name, owner } = await hook();
  world.endpoint.answer = () => ({ status: 410 });
  await world.make(owner);
  const webhook = await stateOf(name, State.DISABLED);
  expect(webhook).toMatchObject({ disabled: true, failure: { message: 'answered 410' } });
});

test('a redirect is no delivery and is not followed', async () => {
  const { name, owner } = await hook();
  world.endpoint.answer = () => ({ status: 302, headers: { location: world.endpoint.url } });
  const uid = await world.make(owner);
  await world.endpoint.until(1, of(uid));
  const delivery = await deliveryOf(name, DeliveryState.PENDING);
  await stateOf(name, State.FAILING);
  expect(delivery.attempts.every(({ httpStatus }) => httpStatus === 302)).toBe(true);
  await world.webhooks.deleteWebhook({ name });
});

test('an endpoint that never answers is left after the time-out, and a ping says so', async () => {
  const { name } = await hook({ timeout: { seconds: 1n, nanos: 0 } });
  world.endpoint.answer = () => undefined;
  const ping = await world.webhooks.pingWebhook({ name });
  expect(ping).toMatchObject({ state: DeliveryState.DEAD, eventType: 'dev.nephos.webhook.v1.ping' });
  expect(ping.attempts[0]).toMatchObject({ httpStatus: 0, error: 'no answer within 1000 ms' });
  world.endpoint.answer = () => ({ status: 200 });
  expect(await world.webhooks.pingWebhook({ name })).toMatchObject({ state: DeliveryState.DELIVERED });
});

test('a restart of the service and of the broker loses nothing and repeats nothing that was answered', async () => {
  const { name, owner } = await hook();
  const uids = await Promise.all(Array.from({ length: 20 }, () => world.make(owner)));
  await world.endpoint.until(5);
  await world.stopService();
  for (const uid of uids) await world.change(uid);
  await world.nats.kill();
  await world.startService();
  await world.nats.restart();
  for (const uid of uids) await world.endpoint.until(2, of(uid));
  const ids = world.endpoint.received.map((each) => eventOf(each).id);
  expect(new Set(ids).size).toBe(40);
  const { deliveries } = await world.webhooks.listWebhookDeliveries({ parent: name, pageSize: 100 });
  expect(deliveries).toHaveLength(40);
});

describe('refused', () => {
  const url = 'https://example.org/';
  test.each([
    [{ url: 'https://127.0.0.2/' }, 'webhook.url', /not a public address/],
    [{ url: 'http://example.org/' }, 'webhook.url', /https/],
    [{ url: '' }, 'webhook.url', /required/],
    [{ url, filter: { entity: 'VM' } }, 'webhook.filter.entity', /word/],
    [{ url, filter: { entity: 'nosuch' } }, 'webhook.filter.entity', /known: .*\bvm\b/],
    [{ url, filter: { entity: 'job' } }, 'webhook.filter.entity', /known/],
    [{ url, filter: { entity: '>' } }, 'webhook.filter.entity', /word/],
    [{ url, filter: { zone: 'zones/*' } }, 'webhook.filter.zone', /zones/],
    [{ url, filter: { verbs: ['created', '*'] } }, 'webhook.filter.verbs', /words/],
    [{ url, timeout: { seconds: 0n, nanos: 1 } }, 'webhook.timeout', /1 s to 60 s/],
    [{ url, giveUpAfter: { seconds: 864_000n, nanos: 0 } }, 'webhook.give_up_after', /5 days/],
  ])('%j', async (settings, field, description) => {
    const webhook = { header: { displayName: 'refused', owner: newUid() }, ...settings };
    await expect(world.webhooks.createWebhook({ webhook })).rejects.toMatchObject({
      details: { fields: [{ field, description: expect.stringMatching(description) }] },
    });
  });

  test('a name that leads into the platform is refused when it is connected to', async () => {
    const { name } = await hook({ url: 'https://localhost:1/hook' });
    await world.webhooks.updateWebhook({
      webhook: { header: { name }, url: 'https://ip6-localhost/' },
      updateMask: ['url'],
    });
    const { attempts } = await world.webhooks.pingWebhook({ name });
    expect(attempts[0]).toMatchObject({ httpStatus: 0, error: expect.stringMatching(/ip6-localhost/) });
  });

  test('a name is taken once an owner, a secret has its form, a log has its webhook', async () => {
    const { name, owner } = await hook();
    await expect(hook({}, owner)).rejects.toMatchObject({ reason: 'DISPLAY_NAME_TAKEN' });
    const webhook = { header: { displayName: 'other', owner }, url };
    await expect(world.webhooks.createWebhook({ webhook, secret: 'short' })).rejects.toMatchObject({
      reason: 'FIELD_INVALID',
    });
    await expect(
      world.webhooks.getWebhookDelivery({ name: `${name}/deliveries/${newUid()}` }),
    ).rejects.toMatchObject({ reason: 'RESOURCE_NOT_FOUND' });
  });
});

test('the same request id gives the same webhook and the same secret; a secret is shown nowhere else', async () => {
  const request = {
    webhook: { header: { displayName: 'once', owner: newUid() }, url: 'https://example.org/t0ken' },
  };
  const options = { requestId: newUid() };
  const first = await world.webhooks.createWebhook(request, options);
  expect(await world.webhooks.createWebhook(request, options)).toEqual(first);
  const shown = await world.webhooks.getWebhook({ name: first.webhook?.header?.name ?? '' });
  expect(
    JSON.stringify(shown, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
  ).not.toContain(first.secret);
  const connection = await connect({ servers: world.nats.url });
  try {
    const jsm = await jetstreamManager(connection);
    const subject = `nephos.v1.*.*.webhook.${first.webhook?.header?.uid}`;
    const message = await until(
      async () =>
        (await jsm.streams.getMessage('NEPHOS_EVENTS', { last_by_subj: subject }).catch(() => undefined)) ??
        undefined,
    );
    expect(message.string()).toContain('https://example.org (');
    expect(message.string()).not.toContain('t0ken');
    expect(message.string()).not.toContain('whsec_');
  } finally {
    await connection.close();
  }
});

test('a filter that nothing can pass is refused in a change too; what is left of it alone is not looked at', async () => {
  const { name } = await hook();
  const webhook = { header: { name }, filter: { entity: 'nosuch' }, disabled: true };
  for (const updateMask of [undefined, ['filter']]) {
    const update = world.webhooks.updateWebhook({ webhook, ...(updateMask && { updateMask }) });
    await expect(update).rejects.toMatchObject({
      details: { fields: [{ field: 'webhook.filter.entity' }] },
    });
  }
  const changed = await world.webhooks.updateWebhook({ webhook, updateMask: ['disabled'] });
  expect(changed).toMatchObject({ disabled: true, filter: { entity: 'pod' } });
});

test('secrets lie where deliveries are signed from, and in no request: minted, given or rotated', async () => {
  const owner = newUid();
  const url = 'https://example.org/hook';
  const given = `whsec_${Buffer.alloc(32, owner).toString('base64')}`;
  const minted = await world.webhooks.createWebhook({
    webhook: { header: { displayName: 'minted', owner }, url },
  });
  const own = await world.webhooks.createWebhook({
    webhook: { header: { displayName: 'given', owner }, url },
    secret: given,
  });
  expect(own.secret).toBe(given);
  const request = { name: own.webhook?.header?.name ?? '' };
  const options = { requestId: newUid() };
  const rotated = await world.webhooks.rotateWebhookSecret(request, options);
  expect(rotated.secret).not.toBe(given);
  expect(await world.webhooks.rotateWebhookSecret(request, options)).toEqual(rotated);
  await world.stopService();
  const found = [minted.secret, given, rotated.secret].map((secret) => placesOf(secret));
  await world.startService();
  expect(found).toEqual([['c:webhooks'], ['c:webhooks'], ['c:webhooks']]);
});

test('a deleted webhook leaves no position and no log', async () => {
  const { name, owner } = await hook();
  const uid = await world.make(owner);
  await world.endpoint.until(1, of(uid));
  await world.webhooks.deleteWebhook({ name });
  await expect(world.webhooks.listWebhookDeliveries({ parent: name })).rejects.toMatchObject({
    reason: 'RESOURCE_NOT_FOUND',
  });
  await world.stopService();
  await world.startService();
  const connection = await connect({ servers: world.nats.url });
  try {
    const jsm = await jetstreamManager(connection);
    await until(async () => {
      const names = [];
      for await (const consumer of jsm.consumers.list('NEPHOS_EVENTS')) names.push(consumer.name);
      return names.includes(name.replace('webhooks/', 'webhook-')) ? undefined : true;
    });
  } finally {
    await connection.close();
  }
});
