// Endpoints and callers that mean no good, and what deleted webhooks leave.
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { newUid, systemClock } from '@nephos/service';
import { openWorld, type World } from './support/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld({ NEPHOS_WEBHOOK_LIMIT: '1' });
});
afterAll(async () => await world[Symbol.asyncDispose]());
beforeEach(() => {
  world.endpoint.received.length = 0;
});

function create(filter: Record<string, unknown>, owner: string) {
  const webhook = { header: { displayName: 'hook', owner }, url: world.endpoint.url, filter };
  return world.webhooks.createWebhook({ webhook });
}

test('an endpoint that fails now and then does not feed itself; there are as many webhooks as the limit allows', async () => {
  const owner = newUid();
  const created = await create({}, owner);
  const name = created.webhook?.header?.name ?? '';
  await expect(create({}, newUid())).rejects.toMatchObject({ reason: 'LIMIT_REACHED' });
  // Its own creation; each delivery fails once.
  await world.endpoint.until(1, ({ body }) => body.includes('webhook.v1.created'));
  const seen = new Set<string>();
  world.endpoint.answer = ({ headers }) => {
    const id = String(headers['webhook-id']);
    if (seen.has(id)) return { status: 204 };
    seen.add(id);
    return { status: 500 };
  };
  await world.make(owner);
  const settled = async () => {
    const { deliveries } = await world.webhooks.listWebhookDeliveries({ parent: name });
    const waits = deliveries.some(({ nextAttemptTime }) => nextAttemptTime !== undefined);
    return waits ? undefined : deliveries.length;
  };
  // The pod, and that the endpoint failed and did so no more.
  for (let calm = 0; calm < 20; ) {
    calm = (await settled()) === 4 ? calm + 1 : 0;
    await systemClock.sleep(100);
  }
  const about = world.endpoint.received.filter(({ body }) => body.includes('webhook.v1.updated'));
  expect(new Set(about.map(({ headers }) => headers['webhook-id'])).size).toBe(2);
  await world.webhooks.deleteWebhook({ name });
});
