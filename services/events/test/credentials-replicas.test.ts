// Two instances of the events service on one store, both bringing the broker to the records: what one writes while the
// other is at the same credential, and who has to finish when one is gone.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { jetstreamManager } from '@nats-io/jetstream';
import { streams } from '@nephos/events';
import { EventCredential_State as State } from '@nephos/proto/nephos/events/v1/credential';
import { newUid, systemClock } from '@nephos/service';
import { onMongo } from '@nephos/store/testing/on-mongo';
import {
  attempt,
  type CredentialClient,
  type CredentialsWorld,
  enter,
  openCredentialsWorld,
  readAll,
} from './support/credentials-world.ts';

await onMongo((server) => {
  let world: CredentialsWorld;
  let both: readonly [CredentialClient, CredentialClient];

  beforeAll(async () => {
    world = await openCredentialsWorld({ NEPHOS_STORE: server.url });
    both = [world.api(), (await world.replica()).api];
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
  });

  const issue = async (api: CredentialClient, requestId = newUid(), displayName = newUid()) => {
    const request = { credential: { header: { displayName }, slice: { owner: displayName } } };
    const { credential, creds } = await api.createEventCredential(request, { requestId });
    return { name: credential?.header?.name ?? '', account: credential?.account ?? '', creds };
  };

  const settled = async (name: string, state: State) => {
    for (;;) {
      const credential = await both[1].getEventCredential({ name });
      if (credential.settled && credential.state === state) return credential;
      await systemClock.sleep(50);
    }
  };

  test('a request that reaches both is one credential, and its secret is given out once', async () => {
    for (let round = 0; round < 10; round += 1) {
      const [requestId, displayName] = [newUid(), newUid()];
      const made = await Promise.all(both.map((api) => issue(api, requestId, displayName)));
      expect(new Set(made.map(({ name }) => name)).size).toBe(1);
      const secrets = made.map(({ creds }) => creds).filter((creds) => creds !== '');
      expect(secrets).toHaveLength(1);
      await settled(made[0]?.name ?? '', State.ACTIVE);
      expect(await attempt(world, secrets[0] ?? '')).toBe('came in');
    }
  });

  test('rotated by one and revoked by the other at once: nobody is in, whoever was last to tell the broker', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { name, account, creds } = await issue(both[0]);
      const [first, second] = round % 2 === 0 ? both : both.toReversed();
      const [rotated] = await Promise.allSettled([
        first?.rotateEventCredential({ name }),
        second?.revokeEventCredential({ name }),
      ]);
      await settled(name, State.REVOKED);
      const secrets = [creds, rotated.status === 'fulfilled' ? (rotated.value?.creds ?? '') : ''];
      for (const secret of secrets.filter((each) => each !== ''))
        expect(await attempt(world, secret)).not.toBe('came in');
      const jsm = await jetstreamManager(await world.inside());
      await expect(jsm.consumers.info(streams.events, account)).rejects.toThrow('consumer not found');
    }
  });

  test('passes of both leave a reader its place', async () => {
    const { name, account, creds } = await issue(both[0]);
    const { slice } = await settled(name, State.ACTIVE);
    for (let sequence = 1; sequence <= 10; sequence += 1)
      await world.publish(slice?.owner ?? '', 'vm', 'one', sequence);
    await using third = await enter(world, creds);
    expect(await readAll(third, account)).toHaveLength(10);
    // Both look at everything when they start.
    const fresh = [await world.replica(), await world.replica()];
    for (const { api } of fresh) await issue(api);
    await systemClock.sleep(1_000);
    await world.publish(slice?.owner ?? '', 'vm', 'one', 11);
    expect(
      (await readAll(third, account)).map((message) => message.json<{ sequence: string }>().sequence),
    ).toEqual(['11']);
    for (const { stop } of fresh) await stop();
  });

  test('what one wrote while the broker was away, the other brings about when the first is gone', async () => {
    const writer = await world.replica();
    const kept = await issue(both[0]);
    const ended = await issue(both[0]);
    await world.nats.kill();
    // Nothing waits for the broker but the answer's word whether it is done.
    const made = await issue(writer.api);
    await writer.api.revokeEventCredential({ name: ended.name });
    await writer.stop();
    await world.nats.restart();
    await settled(made.name, State.ACTIVE);
    await settled(ended.name, State.REVOKED);
    expect(await attempt(world, made.creds)).toBe('came in');
    expect(await attempt(world, kept.creds)).toBe('came in');
    expect(await attempt(world, ended.creds)).not.toBe('came in');
  });
});
