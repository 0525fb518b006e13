// A slice of the events cannot be left: a third party tries everything, and sees its slice whole and nothing else.
// slice-control.test.ts shows that the same attempts lead out where the slice is cut otherwise.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, credsAuthenticator, type NatsConnection } from '@nats-io/transport-node';
import { natsOptions } from '@nephos/events/testing';
import { thirdPartyLimits } from '@nephos/nats-accounts';
import { layGround, type Platform, startPlatform, succeeded } from '@nephos/testing';
import { standing, tryToLeave, type Ways } from './support/leaving.ts';

const settleMs = 2_500;
const settle = () => new Promise((resolve) => setTimeout(resolve, settleMs));

function enter(url: string, creds: string): Promise<NatsConnection> {
  const authenticator = credsAuthenticator(new TextEncoder().encode(creds));
  return connect({ servers: url, authenticator, reconnect: false, noEcho: true });
}

let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(async () => await platform[Symbol.asyncDispose]());

test('a third party sees its slice whole, in order, and nothing else, whatever it tries', async () => {
  const { api, nats } = platform;
  const { zone, template } = await layGround(platform);
  const issue = async (displayName: string, owner: string) => {
    const { credential, creds } = await api.credentials.createEventCredential({
      credential: { header: { displayName }, slice: { owner } },
    });
    return { account: credential?.account ?? '', name: credential?.header?.name ?? '', creds };
  };
  const [acme, bob] = [await issue('acme', 'acme'), await issue('bob', 'bob')];
  const work = async (owner: string): Promise<void> => {
    const header = { displayName: `${owner}-vm`, zone, owner };
    const spec = { vcpus: 1, memoryBytes: 2n ** 27n, template };
    await succeeded(api, await api.vms.createVm({ vm: { header, spec } }));
  };
  await Promise.all([work('acme'), work('bob')]);

  await using inside = await connect(natsOptions(nats));
  const marker = 'burglar';
  const before = await standing(inside, marker);
  const [bobs = ''] = await subjectsOf(inside, 'nephos.v1.bob.');
  const third = await enter(nats.url, acme.creds);
  const ways: Ways = {
    own: { consumer: acme.account, slice: 'nephos.v1.acme.', api: '$JS.nephos.API' },
    other: { consumer: bob.account, subject: bobs },
    marker,
  };
  const tried = await tryToLeave(third, ways);
  for (const name of (await api.vms.listVms({})).vms.map(({ header }) => header?.name ?? '')) {
    await succeeded(api, await api.vms.stopVm({ name }));
  }
  await settle();
  expect(tried.leaked).toEqual([]);
  expect(tried.violations).toBeGreaterThan(tried.attempts / 2);
  const after = await standing(inside, marker);
  expect({ ...after.streams, ...after.consumers }).toMatchObject({ ...before.streams, ...before.consumers });
  expect(Object.keys(after.streams)).toEqual(Object.keys(before.streams));
  expect([after.first, after.marked]).toEqual([before.first, []]);
  await third.close();
  process.stdout.write(
    `  ${tried.attempts} ways out tried: ${tried.violations} refused aloud, ${tried.leaked.length} led out\n`,
  );

  // What it should see: all of it, in order, after all that.
  await api.credentials.rewindEventCredential({ name: acme.name });
  await using again = await enter(nats.url, acme.creds);
  const expected = await subjectsOf(inside, 'nephos.v1.acme.', true);
  const seen: string[] = [];
  const consumer = await jetstream(again, { domain: 'nephos' }).consumers.get('NEPHOS_EVENTS', acme.account);
  for await (const message of await consumer.fetch({ max_messages: 1_000, expires: 3_000 })) {
    seen.push(`${message.seq} ${message.subject}`);
    message.ack();
  }
  expect(seen).toEqual(expected);
  expect(expected.length).toBeGreaterThan(5);

  // Double use, then the end of it.
  const many = await Promise.allSettled(
    Array.from({ length: thirdPartyLimits.connections + 3 }, () => enter(nats.url, acme.creds)),
  );
  const inNow = many.filter(({ status }) => status === 'fulfilled').length;
  expect(inNow).toBeLessThan(thirdPartyLimits.connections + 3);
  await api.credentials.revokeEventCredential({ name: acme.name });
  await Promise.all(many.map(async (each) => each.status === 'fulfilled' && (await each.value.closed())));
  await again.closed();
  await expect(enter(nats.url, acme.creds)).rejects.toThrow(/Authorization|connections exceeded/);
  await using other = await enter(nats.url, bob.creds);
  expect(other.isClosed()).toBe(false);
});

/** Subjects that the events have; `all`: each event, with its place. */
async function subjectsOf(inside: NatsConnection, prefix: string, all = false): Promise<string[]> {
  const jsm = await jetstreamManager(inside);
  const { state } = await jsm.streams.info('NEPHOS_EVENTS');
  const found: string[] = [];
  for (let seq = state.first_seq; seq <= state.last_seq; seq += 1) {
    const message = await jsm.streams.getMessage('NEPHOS_EVENTS', { seq });
    if (message?.subject.startsWith(prefix)) found.push(all ? `${seq} ${message.subject}` : message.subject);
  }
  return found;
}
